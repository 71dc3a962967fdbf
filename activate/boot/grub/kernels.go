package grub

import (
	"context"
	"os"
	"path/filepath"
	"regexp"

	"beadm/activate/boot"
	"beadm/activate/boot/durable"
	"beadm/activate/boot/kernels"
	"beadm/be"
)

// kernels is where kernels are that GRUB cannot read from their root.
func (l *Loader) kernels() kernels.Dir {
	return kernels.Dir{Path: l.path("kernels"), Where: "GRUB's partition", Free: l.cfg.Free, Disk: l.cfg.Disk}
}

// texts are the entries, each of which may name kernels.
func (l *Loader) texts() ([][]byte, error) {
	list, err := os.ReadDir(l.path("entries"))
	if err != nil {
		return nil, err
	}
	var texts [][]byte
	for _, e := range list {
		if e.IsDir() {
			continue
		}
		b, err := durable.Read(filepath.Join(l.path("entries"), e.Name()), maxFile)
		if err != nil {
			return nil, err
		}
		texts = append(texts, b)
	}
	return texts, nil
}

// fileWord is what entryText writes of a file on GRUB's partition.
var fileWord = regexp.MustCompile(`"\$beadm_dir"'/kernels/([^/']+)'`)

// named are the files on GRUB's partition that an entry starts: none, if it
// reads them from the root.
func named(text []byte) (names []string) {
	for _, m := range fileWord.FindAllSubmatch(text, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// CheckEntry says why GRUB could not start by the entry of id. What is on its
// partition is not read.
func (l *Loader) CheckEntry(ctx context.Context, id string, root be.RootRef) error {
	return l.checkEntry(id, root, kernels.Dir.There)
}

// CheckEntryWhole reads what is on GRUB's partition; of what is in the root
// there is nothing to hold it against.
func (l *Loader) CheckEntryWhole(ctx context.Context, id string, root be.RootRef) error {
	return l.checkEntry(id, root, kernels.Dir.Whole)
}

func (l *Loader) checkEntry(id string, root be.RootRef, files func(d kernels.Dir, names ...string) error) error {
	b, err := l.readEntry(id)
	if err != nil {
		return err
	}
	if names := named(b); len(names) > 0 {
		if err := files(l.kernels(), names...); err != nil {
			return be.E(be.Unbootable, "the kernel that GRUB would start for %s is not there: %w", id, err)
		}
		return nil
	}
	if _, must := l.place(root); must != nil {
		return be.E(be.Unbootable, "GRUB would read the kernel of %s from its root: %w", id, must)
	}
	return nil
}

// acceptable refuses, with nothing written, what no entry can be made of.
func (l *Loader) acceptable(e boot.Entry) error {
	from := fromPartition("linux", "initrd")
	if copied, _ := l.place(e.Root); !copied {
		var err error
		if from, err = fromRoot(e); err != nil {
			return err
		}
	}
	_, err := entryText(e, from)
	return err
}

// put writes the entry of e, with its kernel where GRUB can read it, and drops
// what no entry names any more.
func (l *Loader) put(ctx context.Context, e boot.Entry) error {
	if err := boot.CheckID(e.ID); err != nil {
		return err
	}
	copied, must := l.place(e.Root)
	if copied {
		err := l.putCopied(ctx, e)
		if err == nil {
			return l.kernels().Drop(l.texts)
		}
		if err := l.refusal(e, must, err); err != nil {
			return err
		}
	} else if must != nil {
		return be.E(be.Unbootable, "%w: beadm setup --kernels auto has GRUB read kernels from its own partition", must)
	}
	from, err := fromRoot(e)
	if err != nil {
		return err
	}
	text, err := entryText(e, from)
	if err != nil {
		return err
	}
	if err := l.putText(ctx, e.ID, text); err != nil {
		return err
	}
	return l.kernels().Drop(l.texts)
}

// refusal is what err, of putting the kernel of e on the partition, comes to:
// nil where there is no room and GRUB reads the root as well. must is why it
// would not.
func (l *Loader) refusal(e boot.Entry, must, err error) error {
	switch {
	case !kernels.NoRoom(err) || l.cfg.Kernels == KernelsLoader:
		return err
	case must != nil && cannotRead(e.Root, true) == nil:
		return be.E(be.Unbootable, "%w, so its kernel has to be on GRUB's partition: %w; if the GRUB that starts this machine reads it all the same: beadm setup --kernels root", must, err)
	case must != nil:
		return be.E(be.Unbootable, "%w, so its kernel has to be on GRUB's partition: %w", must, err)
	}
	return nil
}

var _ boot.Fitter = (*Loader)(nil)

// Fits implements boot.Fitter.
func (l *Loader) Fits(ctx context.Context, e boot.Entry) error {
	copied, must := l.place(e.Root)
	if !copied {
		return nil
	}
	src, err := kernels.Open(ctx, e, false)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := l.kernels().Fits(e.ID, src, l.texts); err != nil {
		return l.refusal(e, must, err)
	}
	return nil
}

// putCopied has the files in place before the entry that names them.
func (l *Loader) putCopied(ctx context.Context, e boot.Entry) error {
	src, err := kernels.Open(ctx, e, false)
	if err != nil {
		return err
	}
	defer src.Close()
	text, err := entryText(e, fromPartition(src.Kernel(), src.Initrd()))
	if err != nil {
		return err
	}
	if err := l.roomInMenu(ctx, e.ID); err != nil {
		return err
	}
	if err := l.kernels().Bring(e.ID, src, l.texts); err != nil {
		return err
	}
	return l.putText(ctx, e.ID, text)
}
