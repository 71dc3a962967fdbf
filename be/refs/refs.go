// Package refs asks a btrfs who refers to an extent of its disk.
package refs
