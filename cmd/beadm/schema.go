package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/diff"
	"beadm/be"
	"beadm/be/state"
	"beadm/cmd/beadm/render"
	"beadm/share"
	reconcile "beadm/sync"
)

// printed is what a command prints with --json.
type printed struct {
	values  []any // one of them
	results []any // what the key result of an outcome holds; none: it has no such key
}

// changes is the outcome of a command that changes something.
func changes(results ...any) printed { return printed{[]any{outcome{}}, results} }

func prints(values ...any) printed { return printed{values, nil} }

// published names every command that prints JSON. Those with -g print what is
// under guests, or when they switch guests under guests and the command.
func published() map[string]printed {
	named := map[string]string{}
	return map[string]printed{
		"list": prints([]render.Listed{}), "tree": prints([]render.Descent{}), "diff": prints(diff.Report{}), "create": changes(named), "snapshot": changes(named), "destroy": changes(),
		"mount": changes(), "unmount": changes(), "rename": changes(), "describe": changes(), "prune": changes(activate.Pruned{}), "export": changes(), "import": changes(),
		"upgrade": changes(), "run": changes(), "activate": changes(), "rollback": changes(named),
		"status": {[]any{activate.Status{}, outcome{}}, nil}, "confirm": changes(), "boot": changes(), "recover": changes(),
		"history": prints([]state.Event{}), "check": prints(checked{}), "setup": changes(), "version": prints(struct {
			Version string `json:"version"`
		}{}),
		"share init": changes(share.Plan{}, share.Result{}), "share add": changes(share.Plan{}, share.Result{}),
		"share remove": changes(share.Result{}), "share undo": changes(share.Result{}),
		"share status": prints([]share.Path{}), "share list": prints([]activate.ShareSnapshot{}),
		"share commit": changes(map[string][]string{}), "share snapshot": changes(named), "share restore": changes(activate.ShareRestored{}),
		"sync run": changes(reconcile.Report{}), "sync status": changes(reconcile.Report{}), "sync list": prints(render.List{}),
		"sync conflicts": prints([]activate.OpenConflict{}), "sync diff": prints(render.Diff{}), "sync resolve": changes(),
		"guest list": prints([]activate.GuestStanding{}), "guest status": prints([]activate.GuestStanding{}),
		"guest init": prints(guestsOfEach{}), "guest release": prints(guestsOfEach{}), "guest boot": prints(guestsOfEach{}),
		"guests": prints(guestsOfEach{}), "guests activate": prints(guestsSwitched{}), "guests rollback": prints(guestsSwitched{}),
	}
}

type guestsOfEach struct {
	Guests []ofGuest `json:"guests"`
}

type guestsSwitched struct {
	Command string              `json:"command"`
	Guests  []activate.Switched `json:"guests"`
}

func schemaCommand() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON schema of what a command prints with --json", ArgsUsage: "[COMMAND [SUBCOMMAND]]",
		Description: "Without COMMAND: of all commands, by name. What commands print with -g is that of\nguests, or for those that switch guests guests activate and guests rollback.",
		Action: func(c *cli.Context) error {
			name := strings.Join(c.Args().Slice(), " ")
			if name == "" {
				return render.JSON(c.App.Writer, allSchemas())
			}
			s, err := schemaOf(name)
			if err != nil {
				return err
			}
			return render.JSON(c.App.Writer, s)
		},
	}
}

// schema is a JSON schema, or a part of one.
type schema = map[string]any

const schemaDraft = "https://json-schema.org/draft/2020-12/schema"

func schemaOf(name string) (schema, error) {
	p, is := published()[name]
	if !is {
		return nil, be.E(be.Usage, "there is no schema of %q: beadm schema prints those there are, by name", name)
	}
	w := schemaWriter{schema{}}
	s := w.of(p)
	s["$schema"], s["title"], s["$defs"] = schemaDraft, "beadm --json "+name, w.defs
	return s, nil
}

func allSchemas() schema {
	w := schemaWriter{schema{}}
	commands := schema{}
	for name, p := range published() {
		commands[name] = w.of(p)
	}
	return schema{"$schema": schemaDraft, "title": "what beadm prints with --json, by command", "commands": commands, "$defs": w.defs}
}

// schemaWriter makes schemas out of the types that are printed.
type schemaWriter struct{ defs schema }

func (w schemaWriter) of(p printed) schema {
	var any []schema
	for _, v := range p.values {
		s := w.typ(reflect.TypeOf(v))
		if len(p.results) > 0 {
			var results []schema
			for _, r := range p.results {
				results = append(results, w.typ(reflect.TypeOf(r)))
			}
			s = schema{"allOf": []schema{s, {"properties": schema{"result": one(results)}}}}
		}
		any = append(any, s)
	}
	return one(any)
}

func one(of []schema) schema {
	if len(of) == 1 {
		return of[0]
	}
	return schema{"anyOf": of}
}

var textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

func (w schemaWriter) typ(t reflect.Type) schema {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return schema{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage](), t.Kind() == reflect.Interface:
		return schema{}
	case t.Implements(textMarshaler):
		return schema{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return w.typ(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return schema{"type": "string", "contentEncoding": "base64"}
		}
		return schema{"type": "array", "items": w.typ(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": w.typ(t.Elem())}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Float64:
		return schema{"type": "number"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return schema{"type": "integer"}
	case reflect.Struct:
		if t.Name() == "" {
			return w.object(t)
		}
		name := path.Base(t.PkgPath()) + "." + t.Name()
		if t.PkgPath() == reflect.TypeFor[outcome]().PkgPath() {
			name = t.Name()
		}
		if w.defs[name] == nil {
			w.defs[name] = schema{} // it may hold itself
			w.defs[name] = w.object(t)
		}
		return schema{"$ref": "#/$defs/" + name}
	}
	panic(fmt.Sprintf("nothing is known of how %v is printed", t))
}

func (w schemaWriter) object(t reflect.Type) schema {
	properties, required := schema{}, []string{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if !f.IsExported() && !f.Anonymous || tag == "-" {
			continue
		}
		key, opts, _ := strings.Cut(tag, ",")
		if f.Anonymous && key == "" {
			inner := w.object(f.Type)
			for k, v := range inner["properties"].(schema) {
				properties[k] = v
			}
			required = append(required, inner["required"].([]string)...)
			continue
		}
		if key == "" {
			key = f.Name
		}
		properties[key] = w.typ(f.Type)
		if !strings.Contains(opts, "omit") {
			required = append(required, key)
		}
	}
	slices.Sort(required)
	return schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}
