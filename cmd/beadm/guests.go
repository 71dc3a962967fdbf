package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/gobwas/glob"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/activate/guest"
	"beadm/activate/guest/command"
	"beadm/activate/guest/datasets"
	"beadm/activate/guest/jail"
	"beadm/activate/guest/lxc"
	"beadm/activate/guest/nspawn"
	"beadm/activate/guest/zone"
	"beadm/be"
	"beadm/be/btrfs"
	"beadm/cmd/beadm/render"
)

// guestFlags are global: with -g a command is about guests.
func guestFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "guest", Aliases: []string{"g", "jail", "j", "zone", "z"}, EnvVars: []string{"BEADM_GUEST"}, Usage: "the command is for the guests that match `GLOB` (NAME or RUNTIME:NAME), in place of the host; repeatable"},
		&cli.StringSliceFlag{Name: "exclude", Usage: "but not for those that match `GLOB`"},
		&cli.IntFlag{Name: "parallel", Value: 1, Usage: "activate and rollback restart `N` guests at a time"},
		&cli.StringSliceFlag{Name: "canary", Usage: "guests that match `GLOB` go first; if one of them falls back, no other is begun"},
		&cli.IntFlag{Name: "max-failures", Usage: "after `N` that fell back no other is begun"},
	}
}

// forGuest are the commands that -g changes; those that switch guests have a way
// of their own to do so.
var forGuest = map[string]func(c *cli.Context, list []guest.Guest, rest cli.ActionFunc) error{
	"list": eachGuest, "tree": eachGuest, "diff": eachGuest, "create": createGuests, "snapshot": eachGuest, "destroy": eachGuest, "mount": eachGuest, "unmount": eachGuest,
	"rename": eachGuest, "describe": eachGuest, "prune": eachGuest, "export": transferGuests, "import": transferGuests, "upgrade": upgradeGuests, "run": eachGuest,
	"activate": activateGuests, "rollback": rollbackGuests, "confirm": confirmGuests, "recover": recoverGuests,
	"status": eachGuest, "history": eachGuest, "check": eachGuest, "sync": eachGuest, "share": shareGuests,
}

// forGuests has every command look for -g first.
func forGuests(cmds []*cli.Command) []*cli.Command {
	for _, c := range cmds {
		wrapForGuests(c, forGuest[c.Name])
	}
	return cmds
}

func wrapForGuests(cmd *cli.Command, with func(*cli.Context, []guest.Guest, cli.ActionFunc) error) {
	for _, sub := range cmd.Subcommands {
		wrapForGuests(sub, with)
	}
	action := cmd.Action
	if action == nil {
		return
	}
	cmd.Action = func(c *cli.Context) error {
		switch asked := c.IsSet("guest"); {
		case guestOf(c.Context) != nil:
			return action(c)
		case asked && c.IsSet("with-guests"):
			return be.E(be.Usage, "-g and --with-guests exclude each other: with -g the command is for guests alone")
		case !asked:
			for _, name := range []string{"exclude", "parallel", "canary", "max-failures"} {
				if c.IsSet(name) {
					return be.E(be.Usage, "--%s is for guests: give -g GLOB too", name)
				}
			}
			return action(c)
		case with == nil:
			return be.E(be.Usage, "%s is not for guests: give no -g", c.Command.HelpName)
		case len(c.Command.Subcommands) > 0:
			return action(c)
		}
		if os.Geteuid() != 0 {
			return be.E(be.Denied, "%s must be run as root", c.Command.HelpName)
		}
		if c.IsSet("root") || c.IsSet("beroot") {
			return be.E(be.Usage, "-g and --root, or --beroot, exclude each other")
		}
		if c.Int("parallel") < 1 {
			return be.E(be.Usage, "--parallel takes a number of at least 1")
		}
		if c.Int("max-failures") < 0 || c.IsSet("max-failures") && c.Int("max-failures") == 0 {
			return be.E(be.Usage, "--max-failures takes a number of at least 1")
		}
		list, err := askedGuests(c)
		if err != nil {
			return err
		}
		return with(c, list, action)
	}
}

type (
	guestKey struct{}
	heldKey  struct{}
)

// guestOf is the guest that a command is run for; nil for the host.
func guestOf(ctx context.Context) *guest.Guest {
	g, _ := ctx.Value(guestKey{}).(*guest.Guest)
	return g
}

// holdGuest keeps others from switching the guest that a command is about to
// change; the host is held by its state alone.
func holdGuest(c *cli.Context) (release func(), err error) {
	g := guestOf(c.Context)
	if held, _ := c.Context.Value(heldKey{}).(bool); g == nil || held {
		return func() {}, nil
	}
	m, err := guestMachine(c, *g)
	if err != nil {
		return nil, err
	}
	return m.Hold()
}

// runtimes are those that this host may have.
func runtimes(conf activate.Conf) []guest.Runtime {
	_, err := os.Stat("/run/systemd/system")
	dir := filepath.Join(runtimeDir, "guests")
	var configured []command.Guest
	for _, g := range conf.GuestCommands {
		configured = append(configured, command.Guest(g))
	}
	return []guest.Runtime{
		nspawn.New(nspawn.Config{Dir: conf.GuestDir, LogDir: dir, Systemd: err == nil}),
		lxc.New(lxc.Config{Path: conf.LXCPath, Dir: dir}),
		command.New(command.Config{Guests: configured}),
		jail.New(),
		zone.New(),
	}
}

// hostConf is the configuration that guests are handled by: the host's, never
// what a guest says.
func hostConf(c *cli.Context) (activate.Conf, error) {
	conf, err := readConf(c.String("config"), "/")
	if err != nil && mustGoOn[c.Command.Name] {
		logrus.Warnf("%v: the defaults hold", err)
		conf, err = activate.DefaultConf(), nil
	}
	return conf, err
}

// allGuests are those of every runtime. What cannot be read is a warning.
func allGuests(c *cli.Context) ([]guest.Guest, error) {
	conf, err := hostConf(c)
	if err != nil {
		return nil, err
	}
	var all []guest.Guest
	for _, r := range runtimes(conf) {
		list, err := r.List(c.Context)
		if err != nil {
			logrus.Warnf("%v", err)
		}
		all = append(all, list...)
	}
	return all, nil
}

// askedGuests are those that -g names and --exclude does not.
func askedGuests(c *cli.Context) ([]guest.Guest, error) {
	all, err := allGuests(c)
	if err != nil {
		return nil, err
	}
	list, err := namedBy("guest", c.StringSlice("guest"), all)
	if err != nil {
		return nil, err
	}
	not, err := globs("exclude", c.StringSlice("exclude"))
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(g guest.Guest) bool {
		return slices.ContainsFunc(not, func(p *glob.Pattern) bool { return matches(p, g) })
	})
	if len(list) == 0 {
		return nil, be.E(be.NotFound, "no guest is left: --exclude takes out all that -g names")
	}
	return list, nil
}

// namedBy are those of all that the patterns name, each once, in their order.
// One that names none is an error.
func namedBy(what string, patterns []string, all []guest.Guest) ([]guest.Guest, error) {
	want, err := globs(what, patterns)
	if err != nil {
		return nil, err
	}
	var list []guest.Guest
	for i, pattern := range want {
		found := false
		for _, g := range all {
			if !matches(pattern, g) {
				continue
			}
			found = true
			if !slices.Contains(list, g) {
				list = append(list, g)
			}
		}
		if !found {
			return nil, be.E(be.NotFound, "there is no guest %s: beadm guest list shows those there are", patterns[i])
		}
	}
	return list, nil
}

func globs(what string, patterns []string) ([]*glob.Pattern, error) {
	var list []*glob.Pattern
	for _, text := range patterns {
		g, err := glob.Compile(text)
		if err != nil {
			return nil, be.E(be.Usage, "--%s %q is no pattern of names: %w", what, text, err)
		}
		if text == "" {
			return nil, be.E(be.Usage, "--%s is empty: give a name or a pattern", what)
		}
		list = append(list, g)
	}
	return list, nil
}

func matches(pattern *glob.Pattern, g guest.Guest) bool {
	return pattern.Match(g.Name) || pattern.Match(g.Runtime+":"+g.Name)
}

// guestTarget opens what a guest runs on. done must be called.
func guestTarget(c *cli.Context, g guest.Guest) (t *activate.Target, done func(), err error) {
	conf, err := hostConf(c)
	if err != nil {
		return nil, nil, err
	}
	return guestTargetOf(c, conf, g)
}

func guestTargetOf(c *cli.Context, conf activate.Conf, g guest.Guest) (t *activate.Target, done func(), err error) {
	place := placeOf(g)
	_, adopted, err := place.Current()
	if err != nil {
		return nil, nil, err
	}
	if !adopted {
		return nil, nil, be.E(be.NoStore, "guest %s has no boot environments yet: run beadm guest init %s", g.Name, g.Name)
	}
	store, err := guestStore(c.Context, place)
	if err != nil {
		return nil, nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	// What is for the host's own trials is not for a guest's.
	conf.Checks, conf.Hold, conf.ConfirmWithin = nil, conf.Guests.Hold, max(conf.Guests.Within, 2*conf.Guests.Hold)
	runtime := runtimeOf(conf, g)
	return &activate.Target{
		Store: store, Root: g.Root, Runtime: filepath.Join(runtimeDir, store.GUID()), OpenLoader: openLoader(store), Conf: conf, Guest: true,
		Report: talk{out: c.App.Writer, err: c.App.ErrWriter, json: c.Bool("json"), outcome: &outcome{}, who: g.Name + ": "},
		Armed: func(activation string) {
			if armed, ok := c.Context.Value(armedKey{}).(*armedTrials); ok {
				armed.Store(g, activation)
			}
		},
		HostTakes: func(ctx context.Context) (takes map[be.UUID]string, err error) {
			err = withHost(c, ctx, func(t *activate.Target) error {
				takes, err = t.TakesAlong(ctx, g.Runtime+":"+g.Name)
				return err
			})
			return takes, err
		},
		InGuest: func(ctx context.Context, dir string, cmd activate.OfflineCommand) error {
			err := runtime.Run(ctx, g, guest.Command{Root: dir, Argv: cmd.Argv, Env: cmd.Env, Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr})
			var exit *exec.ExitError
			if errors.As(err, &exit) && ctx.Err() == nil {
				return activate.ExitStatus(exit.ExitCode())
			}
			return err
		},
	}, func() { store.Close() }, nil
}

// placeOf is where the boot environments of a guest are.
func placeOf(g guest.Guest) guest.Place {
	place := guest.Place{Root: g.Root}
	if d := datasets.For(place, logrus.StandardLogger()); d != nil {
		place.Storage = d
	}
	return place
}

type closer interface {
	be.Store
	io.Closer
}

func guestStore(ctx context.Context, place guest.Place) (closer, error) {
	if d, ok := place.Storage.(*datasets.Storage); ok {
		return d.Open(ctx, place)
	}
	return btrfs.Open(ctx, btrfs.Config{BERoot: place.Dir(), Root: place.Root, Logger: logrus.StandardLogger()})
}

func runtimeOf(conf activate.Conf, g guest.Guest) guest.Runtime {
	for _, r := range runtimes(conf) {
		if r.Name() == g.Runtime {
			return r
		}
	}
	return nil // a guest is always of one of them
}

// guestMachine is the guest as a batch switches it.
func guestMachine(c *cli.Context, g guest.Guest) (*activate.Machine, error) {
	conf, err := hostConf(c)
	if err != nil {
		return nil, err
	}
	return &activate.Machine{
		Guest: g, Runtime: runtimeOf(conf, g), Place: placeOf(g), Conf: conf.Guests,
		Open: func(ctx context.Context) (*activate.Target, func(), error) {
			one := *c
			one.Context = ctx
			// Not read anew: what is written to it meanwhile stops no switch.
			return guestTargetOf(&one, conf, g)
		},
		Host: func(ctx context.Context) (activate.HostStanding, error) { return standingOfHost(c, ctx) },
	}, nil
}

// ofGuest is what eachGuest prints as JSON.
type ofGuest struct {
	Guest   string          `json:"guest"`
	Runtime string          `json:"runtime"`
	Result  json.RawMessage `json:"result,omitempty"` // what the command prints for a host
	Error   string          `json:"error,omitempty"`
	Exit    int             `json:"exit,omitempty"`
}

// eachGuest runs the command for one guest after the other. What fails for one
// keeps no other from it.
func eachGuest(c *cli.Context, list []guest.Guest, action cli.ActionFunc) error {
	_, err := forEachGuest(c, list, action)
	return err
}

// forEachGuest is eachGuest that returns for which the command failed, and why.
func forEachGuest(c *cli.Context, list []guest.Guest, action cli.ActionFunc) (why map[guest.Guest]error, err error) {
	return overGuests(c, list, 1, action)
}

// overGuests is forEachGuest for several at a time; what they print comes in the
// order of list then, each whole.
func overGuests(c *cli.Context, list []guest.Guest, atATime int, action cli.ActionFunc) (why map[guest.Guest]error, err error) {
	runs := make([]guestRun, len(list))
	slots := make(chan struct{}, atATime)
	for i, g := range list {
		r := &runs[i]
		r.done = make(chan struct{})
		r.ofGuest = ofGuest{Guest: g.Name, Runtime: g.Runtime}
		begin := func() {
			defer close(r.done)
			if r.err = c.Context.Err(); r.err == nil {
				r.run(c, g, action, atATime > 1)
			}
		}
		if atATime == 1 {
			begin()
			r.report(c, len(list))
			continue
		}
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			begin()
		}()
	}
	why = map[guest.Guest]error{}
	var results []ofGuest
	var errs []error
	for i, g := range list {
		r := &runs[i]
		<-r.done
		if atATime > 1 {
			r.report(c, len(list))
		}
		if exit, ran := r.err.(activate.ExitStatus); ran && len(list) == 1 {
			return map[guest.Guest]error{g: exit}, exit
		}
		if r.err != nil {
			why[g] = r.err
			errs = append(errs, fmt.Errorf("%s: %w", g.Name, r.err))
		}
		if r.began {
			results = append(results, r.ofGuest)
		}
	}
	if c.Bool("json") {
		err = render.JSON(c.App.Writer, map[string]any{"guests": results})
	}
	switch {
	case len(errs) == 0:
		return why, err
	case len(list) == 1, c.Context.Err() != nil:
		return why, errs[len(errs)-1]
	case len(errs) == len(list):
		return why, be.E(be.KindOf(errs[0]), "none of %d guests came through, as said above", len(list))
	}
	return why, be.E(be.Batch, "%d of %d guests did not come through, as said above", len(errs), len(list))
}

// guestRun is a command for one guest.
type guestRun struct {
	ofGuest
	began    bool
	err      error
	out, log bytes.Buffer // of one that is kept to be printed whole
	done     chan struct{}
}

// run keeps what the command prints if it is to wait for its turn.
func (r *guestRun) run(c *cli.Context, g guest.Guest, action cli.ActionFunc, waits bool) {
	r.began = true
	one, app := *c, *c.App
	one.App, one.Context = &app, context.WithValue(c.Context, guestKey{}, &g)
	out := c.App.Writer
	if waits {
		out, app.ErrWriter = &r.out, &r.log
	}
	var said bytes.Buffer
	switch {
	case c.Bool("json"):
		app.Writer = &said
	case c.Command.Name == "list" && c.Bool("H"):
		separator := ";"
		if listDialect(c) == "bectl" {
			separator = "\t"
		}
		app.Writer = &lines{w: out, before: g.Name + separator}
	default:
		app.Writer = &titled{w: out, title: g.Name + ":\n"}
	}
	r.err = action(&one)
	if json.Valid(said.Bytes()) {
		r.Result = bytes.TrimSpace(said.Bytes())
	}
	if r.err != nil {
		r.Error, r.Exit = fmt.Sprintf("%s: %v", g.Name, r.err), be.KindOf(r.err).ExitCode()
	}
}

// report prints what was kept, and the error if there are others.
func (r *guestRun) report(c *cli.Context, of int) {
	c.App.Writer.Write(r.out.Bytes())
	c.App.ErrWriter.Write(r.log.Bytes())
	if r.began && r.err != nil && of > 1 {
		fmt.Fprintf(c.App.ErrWriter, "beadm: %s\n", r.Error)
	}
}

// lines puts before at the beginning of each line.
type lines struct {
	w      io.Writer
	before string
	inside bool
}

func (l *lines) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if !l.inside {
			if _, err := io.WriteString(l.w, l.before); err != nil {
				return 0, err
			}
		}
		l.inside = !bytes.HasSuffix(line, []byte("\n"))
		if _, err := l.w.Write(line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// titled writes title before the first byte.
type titled struct {
	w     io.Writer
	title string
}

func (t *titled) Write(p []byte) (int, error) {
	if t.title != "" {
		if _, err := io.WriteString(t.w, t.title); err != nil {
			return 0, err
		}
		t.title = ""
	}
	return t.w.Write(p)
}
