package postgres

var (
	Find        = find
	NewestFirst = newestFirst
)
