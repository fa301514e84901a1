package run

import "context"

// background is what a service does besides requests.
type background struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// begin runs do in the background, with a context that its cancel ends.
func begin(ctx context.Context, do func(context.Context)) background {
	ctx, cancel := context.WithCancel(ctx)
	b := background{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		do(ctx)
	}()
	return b
}

// wait returns when b has ended, or ctx if that is sooner: a call of the store may last longer than its context, and
// what it leaves undone is for the next process, as after a crash.
func (b background) wait(ctx context.Context) {
	select {
	case <-b.done:
	case <-ctx.Done():
	}
}
