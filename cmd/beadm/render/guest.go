package render

import (
	"fmt"
	"io"

	"beadm/activate"
	"beadm/be/rooted"
)

// Switched writes how one guest came out of a batch, a line. width is that of
// the longest name.
func Switched(w io.Writer, s activate.Switched, width int) error {
	line := fmt.Sprintf("%-*s %-10s %s", width, s.Guest, s.Outcome, s.Runs)
	if s.Seconds > 0 {
		line += fmt.Sprintf("  %.1f s down", s.Seconds)
	}
	if s.Why != "" {
		line += "  " + rooted.Printable(s.Why)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// GuestList writes guest list.
func GuestList(w io.Writer, list []activate.GuestStanding) error {
	rows := [][]string{{"Guest", "Runtime", "Runs", "BE", "Root"}}
	for _, g := range list {
		be := dash(g.Runs)
		if g.Error != "" {
			be = "!"
		}
		rows = append(rows, []string{g.Name, g.Runtime, yes(g.Running), be, g.Root})
	}
	return table(w, rows)
}

// GuestStatus writes guest status.
func GuestStatus(w io.Writer, list []activate.GuestStanding) error {
	rows := [][]string{{"Guest", "Runs", "BE", "Default", "State", "Why"}}
	for _, g := range list {
		why := g.Error
		if f := g.Failure; f != nil && g.State == "failed" {
			why = f.Name + ": " + f.Reason + ": " + f.Detail
		}
		rows = append(rows, []string{g.Name, yes(g.Running), dash(g.Runs), dash(g.Default), dash(g.State), rooted.Printable(why)})
	}
	return table(w, rows)
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}
