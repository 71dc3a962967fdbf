package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
)

// The scripts ask the program itself, with the hidden command complete: what
// is there to complete is in one place. It gets the words after "beadm", the
// last one unfinished.
var completionScripts = map[string]string{
	// COMP_WORDS is cut at colons, equals and at signs, which names and flags hold:
	// the words are read from the line, and what stands before the last of
	// those signs stays on it; an at sign is itself replaced.
	"bash": `_beadm() {
	local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} cur word stays
	local -a words
	read -ra words <<<"$line"
	[[ $line == *[[:blank:]] ]] && words+=("")
	cur=${words[-1]}
	stays=${cur%"${cur##*[:=]}"}
	[[ $COMP_WORDBREAKS == *@* && ${cur#"$stays"} == *@* ]] && stays=${cur%@*}
	COMPREPLY=()
	while IFS= read -r word; do
		[[ $word == "$cur"* ]] && COMPREPLY+=("${word#"$stays"}")
	done < <(beadm complete -- "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _beadm beadm
`,
	"zsh": `#compdef beadm
_beadm() {
	local -a found
	found=("${(@f)$(beadm complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	compadd -a found
}
if [ "$funcstack[1]" = _beadm ]; then _beadm; else compdef _beadm beadm; fi
`,
	"fish": `function __beadm
	set -l words (commandline -opc) (commandline -ct)
	beadm complete -- $words[2..-1] 2>/dev/null
end
complete -c beadm -f -a '(__beadm)'
`,
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print what makes a shell complete beadm's words", ArgsUsage: "bash|zsh|fish",
		Description: "For bash: source <(beadm completion bash)",
		Action: func(c *cli.Context) error {
			a, err := args(c, 1, 1)
			if err != nil {
				return err
			}
			script, ok := completionScripts[a[0]]
			if !ok {
				return be.E(be.Usage, "there is no completion for %q: give bash, zsh or fish", a[0])
			}
			_, err = fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

// completeCommand prints what may stand where the last of its arguments is.
// It is silent about whatever is wrong: a shell asks it while somebody types.
func completeCommand() *cli.Command {
	return &cli.Command{
		Name: "complete", Hidden: true, SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) > 0 && words[0] == "--" {
				words = words[1:]
			}
			if len(words) == 0 {
				words = []string{""}
			}
			for _, w := range complete(c, words) {
				fmt.Fprintln(c.App.Writer, w)
			}
			return nil
		},
	}
}

func complete(c *cli.Context, words []string) []string {
	last := words[len(words)-1]
	cmds, flags := c.App.Commands, c.App.Flags
	var command *cli.Command
	given := 0     // arguments of the command before the last word
	about := false // it is help, or schema: what follows are commands, and not run
	for i := 0; i < len(words)-1; i++ {
		w := words[i]
		switch {
		case w == "--":
			return nil // what follows is not ours
		case strings.HasPrefix(w, "-"):
			if !strings.Contains(w, "=") && takesValue(flags, strings.TrimLeft(w, "-")) {
				name := strings.TrimLeft(w, "-")
				if i++; i == len(words)-1 {
					return valuesOf(c, name, last)
				}
				if command == nil && c.Set(name, words[i]) != nil {
					return nil
				}
			}
		default:
			named := false
			for _, sub := range cmds {
				if sub.HasName(w) {
					command, cmds, flags, named = sub, sub.Subcommands, sub.Flags, true
				}
			}
			if named && !about && (command.Name == "help" || command.Name == "schema") {
				cmds, about = c.App.Commands, true
			}
			if !named {
				given++
			}
		}
	}
	if strings.HasPrefix(last, "-") {
		var out []string
		for _, f := range flags {
			for _, n := range f.Names() {
				out = append(out, strings.Repeat("-", min(2, len(n)))+n)
			}
		}
		return out
	}
	var out []string
	for _, sub := range cmds {
		if !sub.Hidden {
			out = append(out, sub.Name)
		}
	}
	if command == nil || about {
		return out
	}
	switch {
	case given > 0 || command.Name == "create" || command.Name == "import": // a new name
	case strings.Contains(last, "@") && (command.Name == "destroy" || command.Name == "rollback" || command.Name == "export"):
		out = append(out, snapshots(c, last)...)
	case strings.Contains(command.ArgsUsage, "BE"):
		out = append(out, names(c)...)
	case strings.HasPrefix(command.ArgsUsage, "SNAPSHOT"):
		out = append(out, shareSnapshots(c)...)
	}
	if strings.HasPrefix(command.ArgsUsage, "GUEST") {
		out = append(out, guestNames(c)...)
	}
	if given == 0 && strings.Contains(command.ArgsUsage, "|") {
		out = append(out, strings.Split(command.ArgsUsage, "|")...)
	}
	return out
}

func valuesOf(c *cli.Context, flag, last string) []string {
	switch flag {
	case "e":
		if strings.Contains(last, "@") {
			return snapshots(c, last)
		}
		return names(c)
	case "from", "to", "give-up", "pin", "unpin":
		return names(c)
	case "guest", "g", "jail", "j", "zone", "z", "exclude", "canary":
		return guestNames(c)
	case "k", "K":
		return []string{"name", "date", "space"}
	case "s":
		return []string{"ro", "rw"}
	case "dialect":
		return []string{"illumos", "bectl"}
	case "loader":
		return []string{"freebsd", "grub", "illumos", "stub", "systemd-boot", "zfsbootmenu"}
	case "trial-token":
		return []string{"auto", "bootnext", "env"}
	}
	return nil
}

// guestNames are those of the guests, if whoever types may list them.
func guestNames(c *cli.Context) (out []string) {
	if os.Geteuid() != 0 {
		return nil
	}
	all, err := allGuests(c)
	if err != nil {
		return nil
	}
	for _, g := range all {
		out = append(out, g.Name)
	}
	return out
}

// names of the boot environments, if whoever types may list them.
func names(c *cli.Context) (out []string) {
	asked(c, func(t *activate.Target) {
		all, err := t.Store.List(c.Context)
		if err != nil {
			return
		}
		for _, b := range all {
			out = append(out, b.Name)
		}
	})
	return out
}

// snapshots of the boot environment that stands before the @ of word.
func snapshots(c *cli.Context, word string) (out []string) {
	name, _, _ := be.SplitSnapshot(word)
	if be.CheckName(name) != nil {
		return nil
	}
	asked(c, func(t *activate.Target) {
		all, err := t.Store.Snapshots(c.Context, name)
		if err != nil {
			return
		}
		for _, sn := range all {
			out = append(out, name+"@"+sn.Name)
		}
	})
	return out
}

// shareSnapshots are those of the shared data.
func shareSnapshots(c *cli.Context) (out []string) {
	asked(c, func(t *activate.Target) {
		all, err := t.ShareSnapshots(c.Context)
		if err != nil {
			return
		}
		for _, sn := range all {
			out = append(out, sn.Name)
		}
	})
	return out
}

// asked opens what the words typed so far are about, for one who may look at
// it.
func asked(c *cli.Context, look func(t *activate.Target)) {
	if os.Geteuid() != 0 {
		return
	}
	if c.IsSet("guest") {
		list, err := askedGuests(c)
		if err != nil {
			return
		}
		// What the first has the others have, as a rule.
		c.Context = context.WithValue(c.Context, guestKey{}, &list[0])
	}
	t, done, err := target(c)
	if err != nil {
		return
	}
	defer done()
	look(t)
}
