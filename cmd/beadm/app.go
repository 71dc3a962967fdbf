package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"

	"beadm/activate"
	"beadm/be"
	"beadm/cmd/beadm/render"
)

type streams struct {
	in       *os.File
	out, err io.Writer
}

// run is the whole program but for os.Exit.
func run(args []string, io streams) int {
	switch {
	case len(args) == 3 && args[1] == activate.OfflineStage && os.Getpid() == 1:
		code, err := activate.OfflineMain(args[2])
		if err != nil {
			fmt.Fprintf(io.err, "beadm: %v\n", err)
		}
		return code
	// After the other: that is process 1 of its own name space, and may have
	// been started from this name.
	case os.Getpid() == 1 && filepath.Base(args[0]) == "init":
		return earlyInit(args)
	}
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) is still what it says
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	// Nobody reads what is said: what is being done goes on. Asked for in this
	// way, and not ignored, it is as it was for the programs that are called.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	io.out, io.err = heardOrNot{io.out}, heardOrNot{io.err}
	app := newApp(io)
	if words, is := asBectl(app, args); is {
		return reportBectl(io, app.RunContext(ctx, words))
	}
	err := app.RunContext(ctx, reorder(app, args))
	return report(io.err, err)
}

// heardOrNot is an output whose reader may go away.
type heardOrNot struct{ io.Writer }

func (w heardOrNot) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		return len(p), nil
	}
	return n, err
}

// report says what is wrong in one sentence and returns the exit code. A
// command that beadm run has run has said itself what is wrong.
func report(w io.Writer, err error) int {
	// As it is: joined to another error, that one is to be heard.
	exit, ranAndFailed := err.(activate.ExitStatus)
	switch {
	case err == nil:
		return 0
	case ranAndFailed:
		return int(exit)
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "beadm: interrupted: %v\n", err)
		return 130
	}
	fmt.Fprintf(w, "beadm: %v\n", err)
	return be.KindOf(err).ExitCode()
}

// commands lists every command. A test walks them.
func commands() []*cli.Command {
	return []*cli.Command{
		listCommand(), treeCommand(), diffCommand(), createCommand(), snapshotCommand(), destroyCommand(), mountCommand(), unmountCommand(),
		renameCommand(), describeCommand(), pruneCommand(), exportCommand(), importCommand(),
		upgradeCommand(), runCommand(), activateCommand(), rollbackCommand(),
		statusCommand(), confirmCommand(), bootCommand(), recoverCommand(), historyCommand(), checkCommand(),
		setupCommand(), shareCommand(), syncCommand(), guestCommand(), completionCommand(), schemaCommand(), helpCommand(), versionCommand(),
		trialFailedCommand(), trialDeadmanCommand(), trialNotifyCommand(), kernelChangedCommand(), earlyBootCommand(), completeMountsCommand(), stubConsumeCommand(), completeCommand(), bectlCommand(),
	}
}

// plain gives every command, at any depth, our one sentence for a wrong flag,
// and takes the "help" command, which would be an argument, off it.
func plain(cmds []*cli.Command) []*cli.Command {
	for _, c := range cmds {
		c.OnUsageError, c.HideHelpCommand = usageError, true
		plain(c.Subcommands)
	}
	return cmds
}

func newApp(io streams) *cli.App {
	return &cli.App{
		Name:                      "beadm",
		Usage:                     "manage boot environments: clone, patch, try, fall back",
		UsageText:                 "beadm [global options] COMMAND [options] [arguments]",
		Description:               "A boot environment is a bootable clone of the system. Patch one while the\nsystem works, activate it, reboot: it gets one trial boot, and the machine\nreturns by itself if that does not prove healthy.",
		Version:                   version(),
		HideVersion:               true,
		Reader:                    io.in,
		Writer:                    io.out,
		ErrWriter:                 io.err,
		DisableSliceFlagSeparator: true,
		// Errors become exit codes in one place, report.
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError:    usageError,
		CommandNotFound: func(*cli.Context, string) {},
		Before: func(c *cli.Context) error {
			logrus.SetOutput(io.err)
			logrus.SetLevel(logrus.WarnLevel)
			logrus.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true})
			if c.Bool("verbose") {
				logrus.SetLevel(logrus.InfoLevel)
			}
			if c.Bool("debug") {
				logrus.SetLevel(logrus.DebugLevel)
			}
			return nil
		},
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "beroot", Aliases: []string{"r"}, EnvVars: []string{"BEADM_BEROOT"}, Usage: "where the boot environments live: `LOC` is POOL/ROOT, VG/POOL, a directory on btrfs, or dir:/PATH"},
			&cli.StringFlag{Name: "root", EnvVars: []string{"BEADM_ROOT"}, Value: "/", Usage: "the root that runs is mounted at `DIR`"},
			&cli.StringFlag{Name: "config", EnvVars: []string{"BEADM_CONFIG"}, Usage: "read `FILE` in place of /etc/beadm/beadm.conf"},
			&cli.StringFlag{Name: "dialect", EnvVars: []string{"BEADM_DIALECT"}, Usage: "behave as `D`: bectl or illumos; called as bectl it is bectl"},
			&cli.BoolFlag{Name: "json", EnvVars: []string{"BEADM_JSON"}, Usage: "print JSON"},
			&cli.BoolFlag{Name: "foreign", EnvVars: []string{"BEADM_FOREIGN"}, Usage: "change a store that another host set up"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, EnvVars: []string{"BEADM_VERBOSE"}, Usage: "say each step"},
			&cli.BoolFlag{Name: "debug", EnvVars: []string{"BEADM_DEBUG"}, Usage: "say each program that is called"},
			&cli.BoolFlag{Name: "version", Usage: "print the version"},
			// The library leaves it out where there is a command of that name.
			cli.HelpFlag,
		}, guestFlags()...),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return be.E(be.Usage, "there is no command %q: beadm help lists those there are", c.Args().First())
			}
			if c.Bool("version") {
				return printVersion(c)
			}
			cli.ShowAppHelp(c)
			return be.E(be.Usage, "give a command")
		},
		Commands: forGuests(plain(commands())),
	}
}

func usageError(c *cli.Context, err error, _ bool) error {
	what := "beadm"
	if c.Command != nil && c.Command.Name != "" {
		what = c.Command.HelpName
	}
	return be.E(be.Usage, "%w: see %s --help", err, what)
}

// reorder puts the flags of a command before its arguments: cli/v2 takes what
// follows the first argument for arguments, so that `activate NAME -t` would
// be a permanent activation of two names. Nothing after -- is touched.
func reorder(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	var globals, out []string
	take := func(flags []cli.Flag, words []string) {
		global, own := globalFlags(flags, app.Flags, words)
		globals, out = append(globals, global...), append(out, own...)
	}
	flags, cmds := app.Flags, app.Commands
	rest := args[1:]
	var leaf *cli.Command
	for {
		var named *cli.Command
		head, tail := leadingFlags(slices.Concat(flags, app.Flags), rest)
		if len(tail) > 0 && tail[0] != "--" {
			for _, c := range cmds {
				if c.HasName(tail[0]) {
					named = c
				}
			}
		}
		if leaf == nil {
			globals, head = append(globals, head...), nil
		}
		take(flags, head)
		if named == nil {
			// The last command: flags stand anywhere. But what follows BE in run
			// and upgrade may be a program's.
			anywhere := app.Flags
			if leaf != nil && strings.Contains(leaf.ArgsUsage, "COMMAND") {
				anywhere = nil
			}
			before, after := splitFlags(flags, anywhere, tail)
			take(flags, before)
			return slices.Concat(args[:1], globals, out, after)
		}
		out = append(out, tail[0])
		rest, flags, cmds, leaf = tail[1:], named.Flags, named.Subcommands, named
	}
}

// leadingFlags takes the flags off the beginning of args, up to -- or the first
// argument that is none.
func leadingFlags(flags []cli.Flag, args []string) (taken, left []string) {
	for i := 0; i < len(args); i++ {
		args = apart(flags, args, i)
		n := flagWords(flags, args[i:])
		if n == 0 {
			return taken, args[i:]
		}
		taken = append(taken, args[i:i+n]...)
		i += n - 1
	}
	return taken, nil
}

// splitFlags takes the flags out of args, up to --.
func splitFlags(flags, global []cli.Flag, args []string) (taken, left []string) {
	all := slices.Concat(flags, global)
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return taken, append(left, args[i:]...)
		}
		args = apart(all, args, i)
		if n := flagWords(all, args[i:]); n > 0 {
			taken = append(taken, args[i:i+n]...)
			i += n - 1
			continue
		}
		left = append(left, args[i])
	}
	return taken, left
}

// flagWords is how many words of args the flag takes that they begin with: 0 if
// they do not.
func flagWords(flags []cli.Flag, args []string) int {
	a := args[0]
	if len(a) < 2 || a[0] != '-' || a == "--" {
		return 0
	}
	if !strings.Contains(a, "=") && takesValue(flags, strings.TrimLeft(a, "-")) && len(args) > 1 {
		return 2
	}
	return 1
}

// globalFlags parts what splitFlags has taken: a flag that the command does not
// have may be one of all commands.
func globalFlags(flags, global []cli.Flag, taken []string) (globals, own []string) {
	for len(taken) > 0 {
		n := flagWords(slices.Concat(flags, global), taken)
		name, _, _ := strings.Cut(strings.TrimLeft(taken[0], "-"), "=")
		if flagIn(global, name) && !flagIn(flags, name) && !slices.Contains(cli.HelpFlag.Names(), name) {
			globals = append(globals, taken[:n]...)
		} else {
			own = append(own, taken[:n]...)
		}
		taken = taken[n:]
	}
	return globals, own
}

func flagIn(flags []cli.Flag, name string) bool {
	return slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

func takesValue(flags []cli.Flag, name string) bool {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				_, isBool := f.(*cli.BoolFlag)
				generic, is := f.(*cli.GenericFlag)
				if is {
					_, isBool = generic.Value.(*anyOf)
				}
				return !isBool
			}
		}
	}
	return false
}

// args checks how many arguments there are, and returns them.
func args(c *cli.Context, least, most int) ([]string, error) {
	n := c.Args().Len()
	if n < least || most >= 0 && n > most {
		return nil, be.E(be.Usage, "%s takes %s: see %s --help", c.Command.HelpName, count(least, most), c.Command.HelpName)
	}
	return c.Args().Slice(), nil
}

func count(least, most int) string {
	switch {
	case most == 0:
		return "no argument"
	case least == most && least == 1:
		return "one argument"
	case least == most:
		return fmt.Sprintf("%d arguments", least)
	case most < 0:
		return fmt.Sprintf("at least %d arguments", least)
	}
	return fmt.Sprintf("%d to %d arguments", least, most)
}

// version is the module's, set by the Go command from the version control.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "unreleased"
}

func versionCommand() *cli.Command {
	return &cli.Command{Name: "version", Usage: "print the version", Action: func(c *cli.Context) error {
		if _, err := args(c, 0, 0); err != nil {
			return err
		}
		return printVersion(c)
	}}
}

func printVersion(c *cli.Context) error {
	if c.Bool("json") {
		return render.JSON(c.App.Writer, map[string]string{"version": version()})
	}
	fmt.Fprintf(c.App.Writer, "beadm %s\n", version())
	return nil
}
