package mirror

// Members are those that are there, as they were configured.
func (l *Loader) Members() (list []Member) {
	for _, m := range l.cfg.Members {
		if m.Copy != nil {
			list = append(list, m)
		}
	}
	return list
}

// Mirror puts c in the place of a mirror.
func (l *Loader) Mirror(i int, c Copy) { l.mirrors[i].Copy = c }
