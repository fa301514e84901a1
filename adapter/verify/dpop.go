package verify

type replays struct{}

func newReplays() *replays { return &replays{} }
