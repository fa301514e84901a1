package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// maxKickstart is how many bytes a kickstart file may have.
const maxKickstart = 1 << 20

// Document is a kickstart file as it was read.
type Document struct {
	Kickstart usecase.Kickstart

	file  string
	lines map[string]int // by field, as in domain.FieldError
}

// ReadKickstart reads the text of a kickstart file; file is its name, for messages. Where a string value says ${NAME},
// lookupEnv gives the text to put there, and ${file:PATH} stands for the content of that file; $$ stands for one dollar
// sign. A file without content is a Kickstart with nothing in it.
//
// The error names every problem, in one line each, with the line of the file and the field.
func ReadKickstart(file string, text []byte, lookupEnv func(string) (string, bool)) (Document, error) {
	r := &reader{file: file, lookupEnv: lookupEnv, lines: map[string]int{}}
	root := r.parse(text)
	by := domain.Actor{Kind: domain.ActorKickstart, Name: filepath.Base(file)}
	k := usecase.Kickstart{By: domain.Origin{Actor: by}}
	if root != nil {
		r.object(members{
			"tenants": list(r, &k.Tenants, r.tenant),
			"apiKeys": list(r, &k.APIKeys, r.apiKey),
		})(value{node: root, line: root.Line})
	}
	if len(r.problems) > 0 {
		return Document{}, &fileError{file, r.problems}
	}
	return Document{Kickstart: k, file: file, lines: r.lines}, nil
}

// Explain turns the *domain.Invalid that usecase.Apply returned for this document into an error that names, in one line each, the
// line of the file and the field. What the file leaves out is shown at the line of what it belongs to. Other errors are
// returned as they are.
func (d Document) Explain(err error) error {
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		return err
	}
	problems := make([]problem, len(invalid.Fields))
	for i, f := range invalid.Fields {
		problems[i] = problem{line: d.line(f.Field), field: f.Field, message: f.Message}
	}
	return &fileError{d.file, problems}
}

// line is where field stands in the file, or the nearest field around it; 0 for neither.
func (d Document) line(field string) int {
	for field != "" {
		if line, ok := d.lines[field]; ok {
			return line
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return 0
}

// fileError is everything that is wrong with a file.
type fileError struct {
	file     string
	problems []problem
}

type problem struct {
	line    int // 0 if it is of no line
	field   string
	message string
}

func (e *fileError) Error() string {
	problems := slices.Clone(e.problems)
	slices.SortStableFunc(problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	lines := make([]string, len(problems))
	for i, p := range problems {
		at := e.file
		if p.line > 0 {
			at += ":" + strconv.Itoa(p.line)
		}
		if p.field != "" {
			at += ": " + short(printable(p.field))
		}
		lines[i] = at + ": " + printable(p.message)
	}
	return strings.Join(lines, "\n")
}

// printable is s on one line that does nothing to a terminal: names in a file can be anything.
func printable(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		quoted := strconv.Quote(s)
		s = quoted[1 : len(quoted)-1]
	}
	return s
}

// short is s, not too long.
func short(s string) string {
	if len(s) > 255 {
		s = strings.ToValidUTF8(s[:255], "") + "…"
	}
	return s
}

// reader walks a file and notes what is wrong with it.
type reader struct {
	file      string
	lookupEnv func(string) (string, bool)
	lines     map[string]int
	problems  []problem
}

// value is a place in the file.
type value struct {
	node  *yaml.Node
	field string // as in domain.FieldError; empty for the document
	line  int    // of its name, if it has one
}

// members are what the names of an object stand for.
type members map[string]func(value)

func (r *reader) complain(v value, format string, args ...any) {
	r.problems = append(r.problems, problem{v.line, v.field, fmt.Sprintf(format, args...)})
}

const refusesAnchors = "anchors (&) and aliases (*) are not allowed: write the value out"

// The parser tells lines in its messages only, so they are taken apart. What it lacks in a block it tells at the line where the
// block begins, what it lacks between brackets one line before they open; the rest is right.
var (
	yamlMessage     = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	lacksInBrackets = regexp.MustCompile(`^did not find expected ',' or `)
	lacksInBlock    = regexp.MustCompile(`^(did not find expected (key|'-' indicator|node content|<)|found undefined tag handle)`)
	unknownAnchor   = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// lineReader gives the parser a line at a time, so that it has read little more than what it fails at.
type lineReader struct {
	rest []byte
	line int // how many were read whole
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	end := bytes.IndexByte(r.rest, '\n') + 1
	if end == 0 {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	if n == end {
		r.line++
	}
	r.rest = r.rest[n:]
	return n, nil
}

// parse gives what the file holds, nil if that is nothing or no YAML.
func (r *reader) parse(text []byte) *yaml.Node {
	if len(text) > maxKickstart {
		r.complain(value{}, "is larger than 1 MiB: split it, and apply the parts one after the other")
		return nil
	}
	// The parser does not say where such a character stands.
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && size == 1 || unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t' {
			r.complain(value{line: lineAt(text, i)}, "this is not text in UTF-8, or has a control character")
			return nil
		}
		i += size
	}
	lines := &lineReader{rest: text}
	decoder := yaml.NewDecoder(lines)
	var first, second yaml.Node
	if err := decoder.Decode(&first); err != nil {
		if !errors.Is(err, io.EOF) {
			r.complainSyntax(text, lines.line, err)
		}
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		r.complain(value{line: second.Line}, "a second document begins here: a kickstart file is one")
	} else if !errors.Is(err, io.EOF) {
		r.complainSyntax(text, lines.line, err)
	}
	root := first.Content[0]
	if root.Tag == "!!null" && root.Value == "" && root.Anchor == "" && root.Style&yaml.TaggedStyle == 0 {
		return nil
	}
	return root
}

// complainSyntax notes what the parser said after it had read the line last of text.
func (r *reader) complainSyntax(text []byte, last int, err error) {
	message, line := err.Error(), 0
	if m := yamlMessage.FindStringSubmatch(message); m != nil {
		message = m[2]
		line, _ = strconv.Atoi(m[1]) // which the parser leaves out for 0
	}
	switch {
	case unknownAnchor.MatchString(message):
		alias := "*" + unknownAnchor.FindStringSubmatch(message)[1]
		r.complain(value{line: lineAt(text, bytes.Index(text, []byte(alias)))}, refusesAnchors)
	case lacksInBrackets.MatchString(message):
		r.complain(value{line: line + 1}, "this is not YAML: %s; within brackets ${NAME} needs quotes", message)
	case lacksInBlock.MatchString(message):
		r.complain(value{line: max(1, last)}, "this is not YAML, here or just above: %s", message)
	default:
		r.complain(value{line: max(1, line)}, "this is not YAML: %s", message)
	}
}

func lineAt(text []byte, offset int) int { return 1 + bytes.Count(text[:max(0, offset)], []byte("\n")) }

func (r *reader) tenant(v value) (kt usecase.KickstartTenant) {
	m := r.settings(&kt.Tenant.Settings)
	m["id"] = into(&kt.Tenant.ID, r.text)
	m["name"] = into(&kt.Tenant.Name, r.text)
	m["issuer"] = into(&kt.Tenant.Issuer, r.text)
	m["applications"] = list(r, &kt.Applications, r.application)
	r.object(m)(v)
	return kt
}

func (r *reader) application(v value) (a domain.Application) {
	m := r.settings(&a.Settings)
	m["id"] = into(&a.ID, r.text)
	m["name"] = into(&a.Name, r.text)
	r.object(m)(v)
	return a
}

// settings are those of a tenant or an application.
func (r *reader) settings(s *domain.Settings) members {
	return members{
		"active":                intoPointer(&s.Active, r.boolean),
		"requireAuthentication": intoPointer(&s.RequireAuthentication, r.boolean),
		"cookieOnly":            intoPointer(&s.CookieOnly, r.boolean),
		"cookieName":            intoPointer(&s.CookieName, r.text),
		"cookieDomain":          intoPointer(&s.CookieDomain, r.text),
		"cookieHostOnly":        intoPointer(&s.CookieHostOnly, r.boolean),
		"jwtConfiguration": r.object(members{
			"timeToLiveInSeconds":             intoPointer(&s.AccessTokenSeconds, r.number),
			"accessTokenType":                 intoPointer(&s.AccessTokenType, word[domain.AccessTokenType](r)),
			"algorithm":                       intoPointer(&s.Algorithm, word[domain.Algorithm](r)),
			"refreshTokenExpirationPolicy":    intoPointer(&s.Expiration, word[domain.ExpirationPolicy](r)),
			"refreshTokenTimeToLiveInMinutes": intoPointer(&s.TTLMinutes, r.number),
			"refreshTokenSlidingWindowConfiguration": r.object(members{
				"maximumTimeToLiveInMinutes": intoPointer(&s.MaximumTTLMinutes, r.number),
			}),
			"refreshTokenUsagePolicy": intoPointer(&s.Usage, word[domain.UsagePolicy](r)),
			"refreshTokenOneTimeUseConfiguration": r.object(members{
				"gracePeriodInSeconds": intoPointer(&s.GraceSeconds, r.number),
				"recoveryBurst":        intoPointer(&s.RecoveryBurst, r.number),
				"recoveryInterval":     intoPointer(&s.RecoveryInterval, r.number),
			}),
			"refreshTokenRevocationPolicy": r.object(members{
				"onOneTimeTokenReuse": intoPointer(&s.RevokeOnReplay, r.boolean),
			}),
			"maximumActiveTokens": intoPointer(&s.MaximumActiveTokens, r.number),
		}),
	}
}

func (r *reader) apiKey(v value) (ka usecase.KickstartAPIKey) {
	k := &ka.APIKey
	k.Permissions = domain.Permissions{} // as stores give it back: nil would be a change at each start
	r.object(members{
		"name":        into(&k.Name, r.text),
		"key":         into(&ka.Key, r.secret),
		"tenantId":    into(&k.TenantID, r.tenantID),
		"permissions": r.object(members{"endpoints": r.endpoints(k.Permissions)}),
		"expiresAt":   into(&k.ExpiresAt, r.instant),
	})(v)
	return ka
}

// endpoints reads the one object whose names are the file's to choose.
func (r *reader) endpoints(p domain.Permissions) func(value) {
	return func(v value) {
		for _, m := range r.membersOf(v) {
			var methods []string
			list(r, &methods, func(v value) string {
				s, _ := r.text(v)
				return s
			})(m.value)
			p[m.name] = methods
		}
	}
}

// into reads a value to where to points.
func into[T any](to *T, read func(value) (T, bool)) func(value) {
	return func(v value) {
		if t, ok := read(v); ok {
			*to = t
		}
	}
}

// intoPointer does the same where nil stands for not set.
func intoPointer[T any](to **T, read func(value) (T, bool)) func(value) {
	return func(v value) {
		if t, ok := read(v); ok {
			*to = &t
		}
	}
}

func list[T any](r *reader, to *[]T, read func(value) T) func(value) {
	return func(v value) {
		if !r.is(v, yaml.SequenceNode, "a list") {
			return
		}
		for i, node := range v.node.Content {
			item := value{node: node, field: fmt.Sprintf("%s[%d]", v.field, i), line: node.Line}
			r.lines[item.field] = item.line
			*to = append(*to, read(item))
		}
	}
}

func (r *reader) object(known members) func(value) {
	return func(v value) {
		for _, m := range r.membersOf(v) {
			if read, ok := known[m.name]; ok {
				read(m.value)
				continue
			}
			names := slices.Sorted(maps.Keys(known))
			if near := domain.Nearest(m.name, names); near != "" {
				r.complain(m.value, "is not known here; did you mean %s?", near)
			} else {
				r.complain(m.value, "is not known here; known are %s", strings.Join(names, ", "))
			}
		}
	}
}

type member struct {
	name  string
	value value
}

// membersOf are the names of an object and their values, in order, without those that are wrong by themselves.
func (r *reader) membersOf(v value) []member {
	if !r.is(v, yaml.MappingNode, "an object") {
		return nil
	}
	var found []member
	seen := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		name, node := v.node.Content[i], v.node.Content[i+1]
		at := value{node: node, field: v.field, line: name.Line}
		switch {
		case name.Tag == "!!merge":
			r.complain(at, "merge keys (<<) are not allowed: write the values out")
			continue
		case name.Kind == yaml.AliasNode || name.Anchor != "":
			r.complain(at, refusesAnchors)
			continue
		case name.Kind != yaml.ScalarNode || name.Style&yaml.TaggedStyle != 0 || name.Value == "":
			r.complain(at, "a name must be text")
			continue
		}
		at.field = strings.TrimPrefix(v.field+"."+name.Value, ".")
		if line, repeated := seen[name.Value]; repeated {
			r.complain(at, "is there already, in line %d: each name may be there once", line)
			continue
		}
		seen[name.Value], r.lines[at.field] = at.line, at.line
		found = append(found, member{name.Value, at})
	}
	return found
}

// is tells whether v is of that kind, for which want is the word, and written plainly.
func (r *reader) is(v value, kind yaml.Kind, want string) bool {
	switch n := v.node; {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.complain(v, refusesAnchors)
	case n.Style&yaml.TaggedStyle != 0:
		r.complain(v, "tags (!) are not allowed: write %s", want)
	case n.Tag == "!!null":
		r.complain(v, "has no value: give it one, or leave the name out")
	case n.Kind != kind:
		r.complain(v, "must be %s, not %s", want, kindOf(n))
	default:
		return true
	}
	return false
}

// isScalar tells whether v is a scalar of one of these tags.
func (r *reader) isScalar(v value, want string, tags ...string) bool {
	if !r.is(v, yaml.ScalarNode, want) {
		return false
	}
	switch {
	case slices.Contains(tags, v.node.Tag):
		return true
	case strings.Contains(v.node.Value, "${"):
		r.complain(v, "must be %s: a variable stands for text only", want)
	default:
		r.complain(v, "must be %s, not %s", want, kindOf(v.node))
	}
	return false
}

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "an object"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!bool":
		return "true or false"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!timestamp":
		return "a date"
	}
	return "text"
}

func (r *reader) boolean(v value) (bool, bool) {
	const want = "true or false"
	if !r.isScalar(v, want, "!!bool") {
		return false, false
	}
	if v.node.Value != "true" && v.node.Value != "false" {
		r.complain(v, "must be %s, in lower case", want)
		return false, false
	}
	return v.node.Value == "true", true
}

// number is more narrow than YAML: 010 is eight to some readers and ten to others.
func (r *reader) number(v value) (int64, bool) {
	const want = "a whole number"
	if !r.isScalar(v, want, "!!int", "!!float") {
		return 0, false
	}
	n, err := strconv.ParseInt(v.node.Value, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != v.node.Value {
		r.complain(v, "must be %s of decimal digits, without leading zeros", want)
		return 0, false
	}
	return n, true
}

func (r *reader) text(v value) (string, bool) {
	if !r.isScalar(v, "text in quotes", "!!str") {
		return "", false
	}
	return r.expand(v)
}

func word[T ~string](r *reader) func(value) (T, bool) {
	return func(v value) (T, bool) {
		s, ok := r.text(v)
		return T(s), ok
	}
}

func (r *reader) secret(v value) (domain.Secret, bool) {
	s, ok := r.text(v)
	return domain.NewSecret(s), ok
}

// tenantID refuses the empty text that would make a key one for every tenant.
func (r *reader) tenantID(v value) (string, bool) {
	s, ok := r.text(v)
	if ok && s == "" {
		r.complain(v, "is empty: name the tenant, or leave tenantId out for a key that serves every tenant")
	}
	return s, ok
}

// instant is in the precision of the stores, so that the same file is no change. The zero time would mean never.
func (r *reader) instant(v value) (time.Time, bool) {
	const want = "an instant as in RFC 3339, e.g. 2030-01-31T12:00:00Z"
	if !r.isScalar(v, want, "!!timestamp", "!!str") {
		return time.Time{}, false
	}
	s, ok := r.expand(v)
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.Year() < 2000 {
		r.complain(v, "must be %s, in this millennium", want)
		return time.Time{}, false
	}
	return t.UTC().Truncate(time.Microsecond), true
}

var variable = regexp.MustCompile(`^\{(?:([A-Za-z_][A-Za-z0-9_]*)|file:([^{}]+))\}`)

// expand puts environment variables and the contents of files where a text names them, without the one line break that
// may end them. What it puts there is not looked at again.
func (r *reader) expand(v value) (string, bool) {
	var text strings.Builder
	complete := true
	for rest := v.node.Value; ; {
		before, after, found := strings.Cut(rest, "$")
		text.WriteString(before)
		if !found {
			return text.String(), complete
		}
		if unescaped, ok := strings.CutPrefix(after, "$"); ok {
			text.WriteByte('$')
			rest = unescaped
			continue
		}
		name := variable.FindStringSubmatch(after)
		if name == nil {
			r.complain(v, "has a $ that names no variable: write ${NAME} for a variable of the environment, "+
				"${file:PATH} for the content of a file, $$ for a dollar sign")
			return "", false
		}
		s, missing := r.lookUp(name[1], name[2])
		if missing != "" {
			r.complain(v, "needs %s", missing)
			complete = false
		}
		text.WriteString(s)
		rest = after[len(name[0]):]
	}
}

// ReadFile is os.ReadFile of what may be a pipe, or a device without an end. It is an error if there is more than a
// kickstart file may have.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKickstart+1))
	if err == nil && len(text) > maxKickstart {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return text, err
}

// lookUp gives what a variable of the environment or, if it has no name, the file at path holds, without the one line
// break that may end it; or what is missing.
func (r *reader) lookUp(name, path string) (text, missing string) {
	missing = "the environment variable " + name + ", which is not set or empty"
	if name == "" {
		content, err := ReadFile(path)
		if err != nil {
			return "", "a file that cannot be read: " + err.Error()
		}
		text, missing = string(content), "the file "+path+", which is empty"
	} else {
		text, _ = r.lookupEnv(name)
	}
	if line, ok := strings.CutSuffix(text, "\n"); ok {
		text = strings.TrimSuffix(line, "\r")
	}
	if text == "" {
		return "", missing
	}
	return text, ""
}
