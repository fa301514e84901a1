package apidocs

import (
	"fmt"
	"html"
	"html/template"
	"regexp"
	"slices"
	"strings"
)

var (
	strong   = regexp.MustCompile(`\*\*(.+?)\*\*`)
	emphasis = regexp.MustCompile(`\*([^*\s](?:[^*]*[^*\s])?)\*`)
	link     = regexp.MustCompile(`\[([^\]]+)\]\((#[A-Za-z0-9-]+)\)`)
	listItem = regexp.MustCompile(`^(?:(-)|\d+\.) (.*)`)
	slugs    = regexp.MustCompile(`[^a-z0-9]+`)

	explainedCode = regexp.MustCompile(`<code>[A-Za-z0-9.\[\]-]+</code>`)
	explainedID   = regexp.MustCompile(` id="(error-[A-Za-z0-9.-]+)"`)
	// errorCode is a `[reason]field` as inline and highlight write it.
	errorCode = regexp.MustCompile(
		`(<code>|<span class="s(?: long)?">&#34;)\[([A-Za-z]+)\]([A-Za-z0-9.-]*)(</code>|&#34;</span>)`)
)

// section is the text under one `## ` heading; the first has no title.
type section struct {
	ID, Title string
	Body      template.HTML
}

func sections(text string) []section {
	var all []section
	for i, part := range strings.Split("\n"+text, "\n## ") {
		title := ""
		if i > 0 {
			title, part, _ = strings.Cut(part, "\n")
		}
		all = append(all, section{ID: slug(title), Title: title, Body: markdown(part)})
	}
	return all
}

func slug(title string) string {
	return strings.Trim(slugs.ReplaceAllString(strings.ToLower(title), "-"), "-")
}

// markdown renders paragraphs, lists, tables, code, strong and emphasized text, and links within the page. Other markup
// is shown as plain text, and all text is escaped.
func markdown(text string) template.HTML {
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		switch item := listItem.FindStringSubmatch(lines[0]); {
		case lines[0] == "":
		case strings.HasPrefix(lines[0], "|"):
			table(&out, lines)
		case item != nil:
			list(&out, lines, item[1] == "-")
		default:
			out.WriteString("<p>" + inline(strings.Join(lines, " ")) + "</p>\n")
		}
	}
	return template.HTML(out.String())
}

func list(out *strings.Builder, lines []string, bullets bool) {
	tag := "ol"
	if bullets {
		tag = "ul"
	}
	var items []string
	for _, line := range lines {
		if item := listItem.FindStringSubmatch(line); item != nil {
			items = append(items, item[2])
		} else {
			items[len(items)-1] += " " + strings.TrimSpace(line)
		}
	}
	out.WriteString("<" + tag + ">\n")
	for i, item := range items {
		open := "<li>"
		if !bullets {
			open = fmt.Sprintf(`<li value="%d">`, i+1) // keeps its number if the search hides earlier items
		}
		out.WriteString(open + inline(item) + "</li>\n")
	}
	out.WriteString("</" + tag + ">\n")
}

// table renders a heading, a line of dashes, and rows. If the first column has error codes or their reasons, each gets
// an id, to which linkCodes links.
func table(out *strings.Builder, lines []string) {
	explains := strings.HasPrefix(lines[0], "| code") || strings.HasPrefix(lines[0], "| reason")
	cells := func(line string) []string {
		return strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
	}
	headings := cells(lines[0])
	row := func(line, tag string) {
		out.WriteString("<tr>")
		for i, cell := range cells(line) {
			text := inline(strings.TrimSpace(cell))
			if explains && i == 0 {
				text = explainedCode.ReplaceAllStringFunc(text, withID)
			}
			open := "<" + tag
			if tag == "td" && i > 0 && i < len(headings) {
				// On a narrow screen the heading is shown before each cell instead of in columns.
				open += ` data-label="` + html.EscapeString(strings.TrimSpace(headings[i])) + `"`
			}
			out.WriteString(open + ">" + text + "</" + tag + ">")
		}
		out.WriteString("</tr>\n")
	}
	out.WriteString("<div class=\"scroll\"><table>\n<thead>")
	row(lines[0], "th")
	out.WriteString("</thead>\n<tbody>\n")
	for _, line := range lines[min(2, len(lines)):] {
		row(line, "td")
	}
	out.WriteString("</tbody></table></div>\n")
}

// codeID returns the id of the row that explains a code: `error-reused-refreshToken`, or `error-reused` for a reason.
func codeID(reason, field string) string {
	if field == "" {
		return "error-" + reason
	}
	return "error-" + reason + "-" + field
}

func withID(code string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(code, "<code>"), "</code>")
	reason, field, _ := strings.Cut(strings.TrimPrefix(name, "["), "]")
	return `<code id="` + codeID(reason, field) + `">` + name + "</code>"
}

// linkCodes makes each error code of the page a link to the row that explains it, or its reason. It works on the
// finished page, because a code may come before its row. Text is escaped there, so only the output of inline and
// highlight matches.
func linkCodes(page []byte) []byte {
	explained := map[string]bool{}
	for _, m := range explainedID.FindAllSubmatch(page, -1) {
		explained[string(m[1])] = true
	}
	return errorCode.ReplaceAllFunc(page, func(match []byte) []byte {
		m := errorCode.FindSubmatch(match)
		for _, id := range []string{codeID(string(m[2]), string(m[3])), codeID(string(m[2]), "")} {
			if explained[id] {
				code := fmt.Sprintf(`<a href="#%s">[%s]%s</a>`, id, m[2], m[3])
				return slices.Concat(m[1], []byte(code), m[4])
			}
		}
		return match
	})
}

// inline renders the markup within a line. Code is handled first, because it contains no markup.
func inline(text string) string {
	parts := strings.Split(text, "`")
	for i, part := range parts {
		part = html.EscapeString(part)
		if i%2 == 1 {
			parts[i] = "<code>" + strings.ReplaceAll(part, "*", "&#42;") + "</code>"
			continue
		}
		parts[i] = link.ReplaceAllString(part, `<a href="$2">$1</a>`)
	}
	text = strong.ReplaceAllString(strings.Join(parts, ""), "<strong>$1</strong>") // which may hold code
	return emphasis.ReplaceAllString(text, "<em>$1</em>")
}
