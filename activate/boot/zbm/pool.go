package zbm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// zfsPool asks zfs(8) and zpool(8).
type zfsPool struct {
	root string
	run  func(ctx context.Context, argv ...string) (string, error)
}

func run(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		if said := strings.Join(strings.Fields(words.String()), " "); said != "" {
			return "", fmt.Errorf("%s: %s", strings.Join(argv, " "), said)
		}
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return out.String(), nil
}

func (z zfsPool) pool() string { name, _, _ := strings.Cut(z.root, "/"); return name }

var allProperties = strings.Join([]string{propCommandline, propID, propArgs, propTrial, propRecord}, ",")

func (z zfsPool) Read(ctx context.Context) (Datasets, error) {
	d := Datasets{Local: map[string]map[string]string{}}
	bootfs, err := z.run(ctx, "zpool", "get", "-Hp", "-o", "value", "bootfs", z.pool())
	if err != nil {
		return d, err
	}
	if d.Bootfs = strings.TrimSuffix(bootfs, "\n"); d.Bootfs == "-" {
		d.Bootfs = ""
	}
	get := []string{"zfs", "get", "-Hp", "-t", "filesystem", "-o", "name,property,value,source"}
	out, err := z.run(ctx, append(slices.Clone(get), "-d", "1", allProperties, z.root)...)
	if err != nil {
		return d, err
	}
	args := append(slices.Clone(get), propCommandline)
	for name := above(z.root); name != ""; name = above(name) {
		args = append(args, name)
	}
	if len(args) > len(get)+1 {
		more, err := z.run(ctx, args...)
		if err != nil {
			return d, err
		}
		out += more
	}
	return d, d.parse(out)
}

// parse reads lines of zfs get -H. A value may hold tabs, and no line may
// begin otherwise than with a dataset and a property.
func (d Datasets) parse(out string) error {
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 4 || !slices.Contains(strings.Split(allProperties, ","), f[1]) {
			return fmt.Errorf("unexpected line of zfs get: %q", line)
		}
		name, value, source := f[0], strings.Join(f[2:len(f)-1], "\t"), f[len(f)-1]
		if d.Local[name] == nil {
			d.Local[name] = map[string]string{}
		}
		if source == "local" {
			d.Local[name][f[1]] = value
		}
	}
	return nil
}

func (z zfsPool) Set(ctx context.Context, dataset string, properties map[string]string) error {
	set := []string{"zfs", "set"}
	var unset []string
	for _, name := range strings.Split(allProperties, ",") {
		switch value, ok := properties[name]; {
		case ok && value != "":
			set = append(set, name+"="+value)
		case ok:
			unset = append(unset, name)
		}
	}
	if len(set) > 2 {
		if _, err := z.run(ctx, append(set, dataset)...); err != nil {
			return err
		}
	}
	for _, name := range unset {
		if _, err := z.run(ctx, "zfs", "inherit", name, dataset); err != nil {
			return err
		}
	}
	return nil
}

func (z zfsPool) SetBootfs(ctx context.Context, dataset string) error {
	_, err := z.run(ctx, "zpool", "set", "bootfs="+dataset, z.pool())
	return err
}

func (z zfsPool) Sync(ctx context.Context) error {
	_, err := z.run(ctx, "zpool", "sync", z.pool())
	return err
}
