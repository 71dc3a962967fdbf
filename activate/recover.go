package activate

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"beadm/activate/boot"
	"beadm/be"
	"beadm/be/journal"
	"beadm/be/rooted"
	"beadm/be/state"
)

// Recover undoes or finishes what an earlier command or boot left open. It
// returns what it did, in sentences; none if there was nothing. With dryRun
// it only says what there is. What giveUp, a boot environment, wrote and is owed
// is not brought over any more; empty gives nothing up.
func (t *Target) Recover(ctx context.Context, giveUp string, dryRun bool) ([]string, error) {
	s, err := t.Look(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if s.Dir == nil {
		return nil, be.E(be.NoStore, "beadm is not set up here: run beadm setup")
	}
	s.dryRun = dryRun
	if err := s.lock(); err != nil {
		return nil, err
	}
	var did []string
	rec, err := journal.Open(s.Dir)
	if err == nil && rec != nil {
		_, err = s.rebuild(rec)
	}
	if state.Damaged(err) && !dryRun {
		to, aerr := state.SetAside(s.Dir.Path(journal.File))
		if aerr != nil {
			return nil, errors.Join(err, aerr)
		}
		rec = nil
		did, err = append(did, "the journal could not be read, nothing can be finished or undone by it: it stands in "+filepath.Base(to)), nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.keepPrimary(); err != nil {
		return nil, err
	}
	if dryRun {
		if giveUp != "" {
			if _, _, err := s.owedBut(ctx, giveUp); err != nil {
				return nil, err
			}
			s.Report.Would("give up what " + giveUp + " wrote and is not brought over")
		}
		return nil, s.wouldRecover(ctx, rec)
	}
	s.sweep(ctx)
	// First: whether an open record was committed, the loader says.
	if what := s.disarmUnread(ctx); what != "" {
		did = append(did, what)
	}
	if rec != nil {
		what, err := s.recoverRecord(ctx, rec)
		if err != nil {
			return nil, err
		}
		did = append(did, what)
	}
	if _, err := os.Stat(s.Dir.Path(shareRecord)); err == nil {
		if err := s.recoverShare(ctx, shareUnits(s.Root)); err != nil {
			return did, err
		}
		if _, err := os.Stat(s.Dir.Path(shareRecord)); err == nil {
			s.Report.Warn("a relocation of shared directories that was interrupted waits for the boot environment it was begun in")
		} else {
			did = append(did, "the relocation of shared directories was ended")
		}
	}
	if mailbox := s.finishRestore(ctx); mailbox != "" {
		did = append(did, "a mailbox that was being restored is whole: "+rooted.Printable(mailbox))
	}
	s.alikeLoaders(ctx)
	ls, err := s.Loader.State(ctx)
	if err != nil {
		return did, err
	}
	if tr := s.State.Trial; lostToken(tr, ls) {
		did = append(did, "the trial of "+s.nameOf(ctx, tr.BE)+" is not armed: forgotten")
		s.State.Trial = nil
		if err := s.save(); err != nil {
			return did, err
		}
	}
	given, err := s.giveUp(ctx, giveUp)
	if err != nil {
		return did, err
	}
	did = append(did, given...)
	more, err := s.catchUp(ctx)
	did = append(did, more...)
	if err != nil {
		return did, err
	}
	running, err := s.running(ctx)
	if err != nil {
		return did, err
	}
	what, err := s.agree(ctx, running)
	did = append(did, what...)
	if err != nil {
		return did, err
	}
	for _, o := range s.State.Owed {
		name := s.nameOf(ctx, o.From)
		return did, be.E(be.Recovery, "cannot bring over what %s wrote: %s; if that cannot be mended, beadm recover --give-up %s does without, and what it changed of accounts is lost, too", name, o.Why, name)
	}
	for _, name := range s.mendEntries(ctx) {
		did = append(did, "the boot menu can start "+name+" again")
	}
	for _, what := range did {
		s.record("recover", "", what)
	}
	return did, nil
}

// disarmUnread takes back whatever is armed where the loader cannot be asked:
// the firmware's variables that cannot be read any more may lead to a trial, and
// nothing could be done here before that is known. It returns what it did, or
// nothing if the loader answers, or if that did not help.
func (s *Session) disarmUnread(ctx context.Context) string {
	_, err := s.Loader.State(ctx)
	if err == nil || be.KindOf(err) == be.NoStore {
		return ""
	}
	if s.Loader.Disarm(ctx) != nil {
		return "" // what is wrong is said by whoever asks next
	}
	if _, still := s.Loader.State(ctx); still != nil {
		return ""
	}
	return "the loader could not be read (" + err.Error() + "): whatever trial it had is taken back"
}

// lostToken says of an armed trial that the loader knows nothing of it.
func lostToken(tr *state.Trial, ls boot.State) bool {
	return tr != nil && tr.Phase == state.Armed && ls.Trial != tr.BE.ID() && ls.Tried != tr.BE.ID()
}

func (s *Session) wouldRecover(ctx context.Context, rec *journal.Record) error {
	if rec != nil {
		s.Report.Would("finish or undo " + rec.Op + ", which was interrupted at: " + rec.Name)
	}
	if _, err := os.Stat(s.Dir.Path(shareRecord)); err == nil {
		s.Report.Would("end the relocation of shared directories")
	}
	ls, err := s.Loader.State(ctx)
	if err != nil {
		if be.KindOf(err) != be.NoStore {
			s.Report.Would("take back whatever trial is armed, so that the loader can be read again")
		}
		return err
	}
	if lostToken(s.State.Trial, ls) {
		s.Report.Would("forget the trial of " + s.nameOf(ctx, s.State.Trial.BE) + ", which is not armed")
	}
	running, err := s.running(ctx)
	if err != nil {
		return err
	}
	if over(s.State.Trial, running.UUID, ls) {
		s.Report.Would("record that the trial of " + s.nameOf(ctx, s.State.Trial.BE) + " failed")
	}
	if d := s.disagrees(ctx, ls); d.def != "" && (s.State.Trial == nil || s.State.Trial.Phase == state.Armed) {
		s.Report.Would("make " + s.nameOf(ctx, s.State.Default) + " the loader's default again, which " + d.def + " is")
	}
	for _, o := range s.unsettled(running.UUID) {
		s.Report.Would("bring over what " + s.nameOf(ctx, o.From) + " wrote")
	}
	stale, err := s.stale(ctx)
	for _, b := range stale {
		s.Report.Would("write the menu entry of " + b.Name + " anew")
	}
	return err
}

func (s *Session) recoverJournal(ctx context.Context) error {
	rec, err := journal.Open(s.Dir)
	if err != nil || rec == nil {
		return err
	}
	what, err := s.recoverRecord(ctx, rec)
	if err == nil {
		s.Report.Note("recovered first: %s", what)
		s.record("recover", "", what)
	}
	return err
}

func (s *Session) recoverRecord(ctx context.Context, rec *journal.Record) (string, error) {
	plan, err := s.rebuild(rec)
	if err != nil {
		return "", err
	}
	finished, err := journal.Recover(ctx, s.Dir, rec, plan)
	if err != nil {
		return "", err
	}
	if err := s.Loader.Tidy(ctx); err != nil {
		s.Report.Warn("%v", err)
	}
	// Steps write the state; read what they left.
	if s.State, err = s.Dir.Load(); err != nil {
		return "", err
	}
	if finished {
		return rec.Op + " was finished", nil
	}
	return rec.Op + " was undone", nil
}

// rebuild makes the plan of a record again. It must be able to read what
// every released version wrote.
func (s *Session) rebuild(rec *journal.Record) (journal.Plan, error) {
	switch rec.Op {
	case "create":
		return rebuilt(rec, s.createPlan)
	case "destroy":
		return rebuilt(rec, func(a destroyArgs) journal.Plan { return s.destroyPlan(a, nil) })
	case "rename":
		return rebuilt(rec, s.renamePlan)
	case "rollback to a snapshot":
		return rebuilt(rec, s.rollbackBEPlan)
	case "sync run":
		return rebuilt(rec, func(a syncArgs) journal.Plan { return s.syncPlan(a, false, nil) })
	case "sync resolve":
		return rebuilt(rec, func(a resolveArgs) journal.Plan { return s.resolvePlan(a, nil) })
	case "share init":
		return rebuilt(rec, func(a shareInitArgs) journal.Plan { return s.shareInitPlan(a, nil) })
	case "share remove":
		return rebuilt(rec, func(a shareRemoveArgs) journal.Plan { return s.shareRemovePlan(a, nil) })
	case "activate":
		return rebuilt(rec, s.activatePlan)
	case "confirm":
		return rebuilt(rec, s.confirmPlan)
	case "rollback", "default":
		return rebuilt(rec, func(a defaultArgs) journal.Plan { return s.defaultPlan(rec.Op, a) })
	}
	return journal.Plan{}, be.E(be.Recovery, "an operation %q is open that this beadm does not know: use the beadm that began it", rec.Op)
}

func rebuilt[A any](rec *journal.Record, plan func(A) journal.Plan) (journal.Plan, error) {
	var args A
	if err := json.Unmarshal(rec.Args, &args); err != nil {
		return journal.Plan{}, be.E(be.Recovery, "cannot read the journal of %s: %w; beadm recover sets it aside", rec.Op, err)
	}
	return plan(args), nil
}
