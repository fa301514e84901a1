package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// outputFlag is the flag --output of a command.
type outputFlag struct{ format textFlag }

func (o *outputFlag) add(c *cobra.Command) {
	o.format = textFlag{form: "FORMAT", text: formats[0]}
	c.Flags().VarP(&o.format, "output", "o", "how to write the result: "+strings.Join(formats, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

func (o *outputFlag) check(s *session) error {
	if slices.Contains(formats, o.format.text) {
		return nil
	}
	return s.wrong("--output is not one of %s", strings.Join(formats, ", "))
}

// column is a column of a table: a member of each row, by its names, with dots.
type column struct{ title, member string }

// isBelow reports whether the cells are lines of their own on a terminal, beneath the row, which would be too long.
func (c column) isBelow() bool { return c.member == timeLine }

// betweenParts separates the parts of a text of a table.
const betweenParts = ", "

// belowWidth is the column at which the lines beneath a row wrap.
const belowWidth = 100

// rows writes a list, page by page.
type rows struct {
	w       io.Writer
	format  string
	columns []column
	derive  func(row []member) []member // returns members for a table that are made from others; nil for none
	padded  bool                        // the columns are aligned, for a terminal
	widths  []int                       // those of the first page: it would take all pages to know the others
	written int
}

func (s *session) rows(o *outputFlag, columns ...column) *rows {
	return &rows{w: s.Stdout, format: o.format.text, columns: columns, padded: IsTerminal(s.Stdout)}
}

// add writes a page.
func (r *rows) add(page []json.RawMessage) error {
	var out bytes.Buffer
	switch r.format {
	case "json":
		for i, row := range page {
			separator := ",\n  "
			if r.written+i == 0 {
				separator = "[\n  "
			}
			out.WriteString(separator)
			if err := json.Indent(&out, row, "  ", "  "); err != nil {
				return failed(StatusFailed, "a row of the list is not JSON: %v", err)
			}
		}
	case "yaml":
		for _, row := range page {
			if err := writeObjectYAML(&out, []json.RawMessage{row}); err != nil {
				return err
			}
		}
	default:
		r.table(&out, page)
	}
	r.written += len(page)
	_, err := r.w.Write(out.Bytes())
	return err
}

// end completes the list.
func (r *rows) end() error {
	text := ""
	switch {
	case r.format == "json" && r.written == 0, r.format == "yaml" && r.written == 0:
		text = "[]\n"
	case r.format == "json":
		text = "\n]\n"
	}
	_, err := io.WriteString(r.w, text)
	return err
}

// table writes rows with a header before the first one.
func (r *rows) table(out *bytes.Buffer, page []json.RawMessage) {
	var cells [][]string
	if r.widths == nil {
		var titles []string
		for _, c := range r.columns {
			titles = append(titles, c.title)
		}
		cells = append(cells, titles)
	}
	for _, row := range page {
		members := map[string]string{}
		all := membersOf(row)
		if r.derive != nil {
			all = append(all, r.derive(all)...)
		}
		for _, m := range all {
			members[m.name] = m.text
		}
		var texts []string
		for _, c := range r.columns {
			texts = append(texts, short(printable(members[c.member])))
		}
		cells = append(cells, texts)
	}
	if r.widths == nil {
		r.widths = widthsOf(cells)
	}
	for _, row := range cells {
		r.row(out, row)
	}
}

// row writes a row, and beneath it the cells that belong there.
func (r *rows) row(out *bytes.Buffer, cells []string) {
	if !r.padded {
		writeRow(out, cells, r.widths, false)
		return
	}
	var beside, beneath []string
	var widths []int
	for i, text := range cells {
		if r.columns[i].isBelow() {
			beneath = append(beneath, text)
			continue
		}
		beside, widths = append(beside, text), append(widths, r.widths[i])
	}
	writeRow(out, beside, widths, true)
	const indent = "    "
	for _, text := range beneath {
		line := indent
		for i, part := range strings.Split(text, betweenParts) {
			switch longer := line + betweenParts + part; {
			case i == 0:
				line += part
			case utf8.RuneCountInString(longer) < belowWidth: // with the comma of the next part
				line = longer
			default:
				out.WriteString(line + ",\n")
				line = indent + part
			}
		}
		if line != indent {
			out.WriteString(line + "\n")
		}
	}
}

func widthsOf(cells [][]string) []int {
	widths := make([]int, len(cells[0]))
	for _, row := range cells {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	return widths
}

// writeRow writes cells: padded to the widths for a person, otherwise with a tab between them for a program.
func writeRow(out *bytes.Buffer, cells []string, widths []int, padded bool) {
	if !padded {
		out.WriteString(strings.Join(cells, "\t") + "\n")
		return
	}
	var line strings.Builder
	for i, text := range cells {
		fmt.Fprintf(&line, "%-*s  ", widths[i], text)
	}
	out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// object writes one object: as a table, a member on each line.
func (s *session) object(o *outputFlag, data json.RawMessage, more ...member) error {
	var out bytes.Buffer
	switch o.format.text {
	case "json":
		if err := json.Indent(&out, data, "", "  "); err != nil {
			return failed(StatusFailed, "the response is not JSON: %v", err)
		}
		out.WriteByte('\n')
	case "yaml":
		if err := writeObjectYAML(&out, data); err != nil {
			return err
		}
	default:
		var cells [][]string
		for _, m := range append(membersOf(data), more...) {
			cells = append(cells, []string{printable(m.name), printable(m.text)})
		}
		if len(cells) > 0 {
			widths := widthsOf(cells)
			for _, row := range cells {
				writeRow(&out, row, widths, IsTerminal(s.Stdout))
			}
		}
	}
	_, err := s.Stdout.Write(out.Bytes())
	return err
}

// writeObjectYAML writes JSON as YAML, with the members in their order.
func writeObjectYAML(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return failed(StatusFailed, "the response is not JSON: %v", err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil { // JSON is YAML
		return failed(StatusFailed, "the response cannot be written as YAML: %v", err)
	}
	plain(&node)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&node); err != nil {
		return failed(StatusFailed, "the response cannot be written as YAML: %v", err)
	}
	return e.Close()
}

// oldBool is a text that YAML 1.1, which other programs read, takes for true or false.
var oldBool = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off)$`)

// plain removes the style of JSON. The encoder then quotes a text only where it has to.
func plain(n *yaml.Node) {
	n.Style = 0
	if n.Tag == "!!str" && oldBool.MatchString(n.Value) {
		n.Style = yaml.DoubleQuotedStyle
	}
	if len(n.Content) == 0 && (n.Kind == yaml.SequenceNode || n.Kind == yaml.MappingNode) {
		n.Style = yaml.FlowStyle
	}
	for _, child := range n.Content {
		plain(child)
	}
}

// member is a member of an object, whose name has a dot for each object that it is within.
type member struct{ name, text string }

// membersOf returns the members of a JSON object, in their order. A list is one member.
func membersOf(data json.RawMessage) (all []member) {
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if errors.Join(err, d.Decode(&value)) != nil {
			break
		}
		all = append(all, valueOf(fmt.Sprint(name), value)...)
	}
	return all
}

func valueOf(name string, value json.RawMessage) []member {
	switch value[0] {
	case '{':
		var all []member
		for _, m := range membersOf(value) {
			all = append(all, member{name + "." + m.name, m.text})
		}
		return all
	case '[':
		var list []json.RawMessage
		_ = json.Unmarshal(value, &list) // the decoder accepted it
		texts := make([]string, len(list))
		for i, item := range list {
			texts[i] = textOf(name, item)
		}
		return []member{{name, strings.Join(texts, betweenParts)}}
	default:
		return []member{{name, textOf(name, value)}}
	}
}

// textOf returns a value as a table shows it. A time in milliseconds is named instant, or its name ends in Instant.
func textOf(name string, value json.RawMessage) string {
	var text string
	switch {
	case json.Unmarshal(value, &text) == nil && value[0] == '"':
		return text
	case name == "instant" || strings.HasSuffix(name, "Instant"):
		if ms, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			return time.UnixMilli(ms).UTC().Format(time.RFC3339)
		}
	case string(value) == "null":
		return ""
	}
	return string(value)
}
