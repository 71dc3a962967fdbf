package grub

import "context"

func vouched(context.Context, string) error { return nil }
