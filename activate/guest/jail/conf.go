package jail

import (
	"fmt"
	"path"
	"strings"
)

// param is a parameter or a variable as it is written in a file.
type param struct {
	name     string
	values   []value
	append   bool
	variable bool
	where    where
}

// value is a string in pieces: the text of one, and then the variable's.
type value []piece

type piece struct{ text, variable string }

// section is a jail's part of a file, or one of a pattern of jails' names.
type section struct {
	name   string
	params []param
	where  where
}

// item is a section, or a parameter outside of all.
type item struct {
	section *section
	global  param
}

// files are where a configuration and what it includes are read from.
type files interface {
	read(path string) (string, error)
	// glob returns what glob(3) does for a pattern, sorted.
	glob(pattern string) ([]string, error)
}

// maxDepth is config.c's MAX_INCLUDE_DEPTH.
const maxDepth = 32

type parser struct {
	files   files
	items   []item
	current []*section // the sections it is in, outermost first
	depth   int
}

// file parses a file into p.items; from is the .include that names it.
func (p *parser) file(path string, from where) error {
	text, err := p.files.read(path)
	if err != nil && from.file != "" {
		return fmt.Errorf("%s: cannot include a file: %w", from, err)
	}
	if err != nil {
		return fmt.Errorf("cannot read a jail.conf: %w", err)
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return fmt.Errorf("%s: a byte is zero", where{path, 1 + strings.Count(text[:i], "\n")})
	}
	f := &fileParser{parser: p, scanner: scanner{file: path, text: text, line: 1}}
	if err := f.advance(); err != nil {
		return err
	}
	if err := f.statements(); err != nil {
		return err
	}
	if f.token.kind != isEnd {
		return f.unexpected()
	}
	return nil
}

type fileParser struct {
	*parser
	scanner scanner
	token   token // the one that is looked at
}

func (f *fileParser) advance() (err error) {
	f.token, err = f.scanner.next()
	return err
}

func (f *fileParser) unexpected() error {
	return f.scanner.errorf(f.token.line, "%s is not expected here", f.token.describe())
}

// statements parses up to the end of the file or of the section.
func (f *fileParser) statements() error {
	for {
		var err error
		switch f.token.kind {
		case isEnd, '}':
			return nil
		case ';':
			err = f.advance()
		case isString, isVariable:
			err = f.statement()
		default:
			err = f.unexpected()
		}
		if err != nil {
			return err
		}
	}
}

// statement parses a section or a parameter.
func (f *fileParser) statement() error {
	first := f.token
	at := where{f.scanner.file, first.line}
	if err := f.advance(); err != nil {
		return err
	}
	if f.token.kind == '{' && first.kind == isString {
		return f.section(first.text, at)
	}
	p := param{name: first.text, variable: first.kind == isVariable, where: at}
	bare := false
	switch f.token.kind {
	case ';':
	case '=', isAppend:
		p.append = f.token.kind == isAppend
		if err := f.advance(); err != nil {
			return err
		}
		if err := f.values(&p); err != nil {
			return err
		}
	case isString, isVariable:
		bare = true
		if err := f.values(&p); err != nil {
			return err
		}
	default:
		return f.unexpected()
	}
	if f.token.kind != ';' {
		return f.unexpected()
	}
	if p.name == ".include" && !p.variable {
		if !bare {
			return f.scanner.errorf(at.line, ".include is followed by no more than names of files in quotes")
		}
		// The token after the semicolon is of this file, and is read after.
		if err := f.include(p); err != nil {
			return err
		}
	} else if n := len(f.current); n > 0 {
		f.current[n-1].params = append(f.current[n-1].params, p)
	} else {
		f.items = append(f.items, item{global: p})
	}
	return f.advance()
}

func (f *fileParser) section(name string, at where) error {
	if n := len(f.current); n > 0 {
		name = f.current[n-1].name + "." + name
	}
	if len(f.current) >= maxDepth {
		return f.scanner.errorf(at.line, "jails are nested too deeply")
	}
	s := &section{name: name, where: at}
	f.items = append(f.items, item{section: s})
	f.current = append(f.current, s)
	if err := f.advance(); err != nil {
		return err
	}
	if err := f.statements(); err != nil {
		return err
	}
	if f.token.kind != '}' {
		return f.unexpected()
	}
	f.current = f.current[:len(f.current)-1]
	return f.advance()
}

// values parses one string or several with commas between.
func (f *fileParser) values(p *param) error {
	for {
		var v value
		switch f.token.kind {
		case isString:
			v = value{{text: f.token.text}}
		case isVariable:
			v = value{{variable: f.token.text}}
			if f.token.text == "" {
				return f.scanner.errorf(f.token.line, "a variable has no name")
			}
		default:
			return f.unexpected()
		}
		for {
			if err := f.advance(); err != nil {
				return err
			}
			if f.token.kind == isMoreString {
				v = append(v, piece{text: f.token.text})
			} else if f.token.kind == isMoreVariable {
				if f.token.text == "" {
					return f.scanner.errorf(f.token.line, "a variable has no name")
				}
				v = append(v, piece{variable: f.token.text})
			} else {
				break
			}
		}
		p.values = append(p.values, v)
		if f.token.kind != ',' {
			return nil
		}
		if err := f.advance(); err != nil {
			return err
		}
	}
}

// include parses the files that an .include names. One without a pattern has to
// be there.
func (f *fileParser) include(p param) error {
	if f.depth++; f.depth > maxDepth {
		return f.scanner.errorf(p.where.line, "files include one another too deeply")
	}
	for _, v := range p.values {
		var text string
		for _, piece := range v {
			if piece.variable != "" {
				return f.scanner.errorf(p.where.line, ".include may not name a file by a variable")
			}
			text += piece.text
		}
		if !strings.HasPrefix(text, "/") {
			dir, _ := path.Split(f.scanner.file)
			text = dir + text
		}
		names := []string{text}
		if strings.ContainsAny(text, `*?[\`) {
			var err error
			if names, err = f.files.glob(text); err != nil {
				return fmt.Errorf("%s: %w", p.where, err)
			}
		}
		for _, name := range names {
			if err := f.file(name, p.where); err != nil {
				return err
			}
		}
	}
	f.depth--
	return nil
}
