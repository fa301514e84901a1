// Package observe is what the proof and its resource servers say to each other: commands one way, observations the
// other, a line each. Instants are readings of CLOCK_MONOTONIC, which all processes of a host share. So instants of
// different processes can be compared, and no change of a wall clock moves them.
package observe

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic returns the reading of CLOCK_MONOTONIC.
func Monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every kernel has this clock
	}
	return time.Duration(t.Nano())
}

// Result is the result of a check.
type Result byte

// The results of a check of an access token.
const (
	Accepted Result = 'a'
	Revoked  Result = 'r' // refused, because its session is revoked
	Stale    Result = 's' // refused, because the view is too old
	Expired  Result = 'x'
	Invalid  Result = 'i'
)

// Observation is one check of an access token by a resource server.
type Observation struct {
	Result     Result
	Token      int           // its number, see Command
	Start, End time.Duration // the instants just before and after the check
	AsOf       time.Duration // of an acceptance: the instant that its view was complete as of, or a moment before
	Text       string        // of a token that is not valid: the reason
}

// String returns o as a line, without its end.
func (o Observation) String() string {
	line := fmt.Sprintf("%c %d %d %d %d", o.Result, o.Token, o.Start, o.End, o.AsOf)
	if o.Text != "" {
		line += " " + strings.Join(strings.Fields(o.Text), " ")
	}
	return line
}

// Parse parses a line that String returned.
func Parse(line string) (o Observation, err error) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 5 || len(fields[0]) != 1 {
		return o, fmt.Errorf("%.100q is not an observation", line)
	}
	o.Result = Result(fields[0][0])
	if !strings.ContainsRune("arsxi", rune(o.Result)) {
		return o, fmt.Errorf("%.100q has a result that is unknown", line)
	}
	var n [4]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(fields[i+1], 10, 64); err != nil {
			return o, fmt.Errorf("%.100q is not an observation: %w", line, err)
		}
	}
	o.Token = int(n[0])
	o.Start, o.End, o.AsOf = time.Duration(n[1]), time.Duration(n[2]), time.Duration(n[3])
	if len(fields) == 6 {
		o.Text = fields[5]
	}
	return o, nil
}

// Config is the first line that a resource server reads, as JSON.
type Config struct {
	Issuer           string
	Audiences        []string // it has a verifier, with a stream of its own, for each
	APIKey           string
	FeedURL, KeysURL string
	StateFile        string // the beginning of the names; empty for none
	MaxAge           time.Duration
	Accept           bool // whether it accepts tokens on a stale view
	RequireProof     bool
}

// Command is each further line that a resource server reads: it adds a token to those that are checked, removes it, or
// has it checked more often for a while.
type Command struct {
	Add, Remove, Hurry int // the number of a token, from 1; one of the three
	Audience, Token    string
}

// String returns c as a line, without its end.
func (c Command) String() string {
	switch {
	case c.Add > 0:
		return fmt.Sprintf("add %d %s %s", c.Add, c.Audience, c.Token)
	case c.Remove > 0:
		return fmt.Sprintf("remove %d", c.Remove)
	}
	return fmt.Sprintf("hurry %d", c.Hurry)
}

// ParseCommand parses a line that String returned.
func ParseCommand(line string) (c Command, err error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return c, fmt.Errorf("%.100q is not a command", line)
	}
	n, err := strconv.Atoi(fields[1])
	if err != nil || n < 1 {
		return c, fmt.Errorf("%.100q names no token", line)
	}
	switch {
	case fields[0] == "add" && len(fields) == 4:
		return Command{Add: n, Audience: fields[2], Token: fields[3]}, nil
	case fields[0] == "remove" && len(fields) == 2:
		return Command{Remove: n}, nil
	case fields[0] == "hurry" && len(fields) == 2:
		return Command{Hurry: n}, nil
	}
	return c, fmt.Errorf("%.100q is not a command", line)
}
