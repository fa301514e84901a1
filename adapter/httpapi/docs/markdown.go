package docs

import (
	"html"
	"html/template"
	"regexp"
	"strings"
)

var (
	strong   = regexp.MustCompile(`\*\*(.+?)\*\*`)
	link     = regexp.MustCompile(`\[([^\]]+)\]\((#[A-Za-z0-9-]+)\)`)
	listItem = regexp.MustCompile(`^(?:(-)|\d+\.) (.*)`)
	slugs    = regexp.MustCompile(`[^a-z0-9]+`)
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

// markdown knows paragraphs, lists, tables, code, strong text and links within the page. Everything else is shown as it is typed,
// and all text is escaped.
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
	for _, item := range items {
		out.WriteString("<li>" + inline(item) + "</li>\n")
	}
	out.WriteString("</" + tag + ">\n")
}

// table takes a heading, a line of dashes, and rows.
func table(out *strings.Builder, lines []string) {
	row := func(line, tag string) {
		out.WriteString("<tr>")
		for cell := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|") {
			out.WriteString("<" + tag + ">" + inline(strings.TrimSpace(cell)) + "</" + tag + ">")
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

// inline reads code first: nothing inside it is marked up.
func inline(text string) string {
	parts := strings.Split(text, "`")
	for i, part := range parts {
		part = html.EscapeString(part)
		if i%2 == 1 {
			parts[i] = "<code>" + part + "</code>"
			continue
		}
		part = strong.ReplaceAllString(part, "<strong>$1</strong>")
		parts[i] = link.ReplaceAllString(part, `<a href="$2">$1</a>`)
	}
	return strings.Join(parts, "")
}
