package logsink

// Written reports whether nothing waits to be written.
func (s *Sink) Written() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) == 0 && s.busy == 0
}
