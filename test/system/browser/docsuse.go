package main

import (
	"context"
	"strings"
)

// useDocs uses the API's page with keyboard and mouse, as a reader does: search, copy, and the contents on a phone.
func useDocs(ctx context.Context, h *harness) error {
	p, err := h.browser.newProfile(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = p.close(context.WithoutCancel(ctx)) }()
	const origin = "https://" + authHost
	if err := h.browser.call(ctx, "", "Browser.grantPermissions", object{
		"browserContextId": p.id, "origin": origin,
		"permissions": []string{"clipboardReadWrite", "clipboardSanitizedWrite"},
	}, nil); err != nil {
		return err
	}
	t, err := p.open(ctx, origin+"/docs")
	if err != nil {
		return err
	}
	d := &docsReader{h, t}
	for _, step := range []func(context.Context) error{d.searches, d.copies, d.thumbs, d.readsWithoutScript} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

type docsReader struct {
	h *harness
	t *page
}

func (d *docsReader) call(ctx context.Context, method string, params any) error {
	return d.h.browser.call(ctx, d.t.session, method, params, nil)
}

// press presses a key; text is what the key types, if anything.
func (d *docsReader) press(ctx context.Context, key, text string) error {
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := object{"type": kind, "key": key}
		if text != "" && kind == "keyDown" {
			params["text"] = text
		}
		if err := d.call(ctx, "Input.dispatchKeyEvent", params); err != nil {
			return err
		}
	}
	return nil
}

// click scrolls the element of the expression into view and clicks in its middle. It reports whether the click hit that
// element, and nothing above it.
func (d *docsReader) click(ctx context.Context, element string) (bool, error) {
	var at struct {
		X, Y float64
		Hit  bool
	}
	err := d.t.eval(ctx, `
		const element = `+element+`;
		element.scrollIntoView({block: 'center'});
		const box = element.getClientRects()[0];
		if (!box) return {};
		const x = box.x + box.width / 2, y = box.y + box.height / 2;
		return {x, y, hit: element.contains(document.elementFromPoint(x, y))};
	`, nil, &at)
	if err != nil || !at.Hit {
		return false, err
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		if err := d.call(ctx, "Input.dispatchMouseEvent", object{
			"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1,
		}); err != nil {
			return false, err
		}
	}
	return true, nil
}

// shown is the part of the page that a search leaves visible.
type shown struct {
	Found                          string // the announced result
	Value                          string
	Focused                        bool
	Operations, Contents, Sections []string
	Fields                         int
	Marked                         int
	Without                        []string // shown fields without the words in them, around them or within them
	Open                           int
}

func (d *docsReader) shown(ctx context.Context) (s shown, err error) {
	err = d.t.eval(ctx, `
		const box = document.querySelector('#search');
		const seen = selector => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility());
		const word = box.value.trim().toLowerCase();
		const has = e => e.textContent.toLowerCase().includes(word);
		const fields = seen('dl.fields dt');
		return {
			found: document.querySelector('#found').textContent, value: box.value, focused: document.activeElement == box,
			operations: seen('article').map(e => e.id), sections: seen('main > .guide h2').map(e => e.textContent),
			contents: seen('#toc li a').map(e => e.textContent), fields: fields.length,
			marked: CSS.highlights.get('found')?.size || 0,
			without: fields.filter(dt => {
				for (let dd = dt.nextElementSibling; dd; dd = dd.parentElement.closest('dd')) {
					if (has(dd) || has(dd.previousElementSibling)) return false;
				}
				return !has(dt.closest('article').querySelector('h3')) && has(dt.closest('article').querySelector('.text'));
			}).map(dt => dt.textContent),
			open: document.querySelectorAll('main details[open]').length,
		};
	`, nil, &s)
	return s, err
}

// typed leaves the search box and searches for the text: `/` focuses the box, and typing replaces its content.
func (d *docsReader) typed(ctx context.Context, text string) (shown, error) {
	if err := d.t.eval(ctx, "document.activeElement.blur();", nil, nil); err != nil {
		return shown{}, err
	}
	if err := d.press(ctx, "/", "/"); err != nil {
		return shown{}, err
	}
	if err := d.call(ctx, "Input.insertText", object{"text": text}); err != nil {
		return shown{}, err
	}
	return d.shown(ctx)
}

func (d *docsReader) searches(ctx context.Context) error {
	if err := d.call(ctx, "Emulation.setDeviceMetricsOverride", object{
		"width": 1280, "height": 844, "deviceScaleFactor": 1, "mobile": false,
	}); err != nil {
		return err
	}
	whole, err := d.shown(ctx)
	if err != nil {
		return err
	}
	got, err := d.typed(ctx, "exceptTokenId")
	if err != nil {
		return err
	}
	d.h.check(got.Value == "exceptTokenId" && got.Focused, "`/` goes to the search, and is not typed: %q", got.Value)
	d.h.check(len(got.Operations) > 0 && len(got.Operations) < len(whole.Operations) && got.Fields > 0 &&
		got.Fields < whole.Fields && len(got.Without) == 0 && got.Marked > 0 && len(got.Contents) < len(whole.Contents),
		"a field's name leaves of %d operations %v, of %d fields %d, not: %q; announced as %q",
		len(whole.Operations), got.Operations, whole.Fields, got.Fields, got.Without, got.Found)
	d.h.check(strings.Contains(got.Found, "operation") && strings.Contains(got.Found, "field"),
		"the numbers are announced: %q", got.Found)
	got, err = d.typed(ctx, "ISSUE a refresh token")
	if err != nil {
		return err
	}
	d.h.check(len(got.Operations) > 0 && got.Operations[0] == "issue",
		"the words of a heading, in any case of letters, leave that operation first: %v", got.Operations)
	got, err = d.typed(ctx, "xyzzy")
	if err != nil {
		return err
	}
	d.h.check(len(got.Operations)+len(got.Sections)+len(got.Contents)+got.Fields == 0 &&
		strings.Contains(got.Found, "Nothing found for “xyzzy”"), "nothing is found, and it says so: %q", got.Found)
	if err := d.press(ctx, "Escape", ""); err != nil {
		return err
	}
	got, err = d.shown(ctx)
	if err != nil {
		return err
	}
	d.h.check(got.Value == "" && got.Found == "" && got.Marked == 0 && len(got.Operations) == len(whole.Operations) &&
		len(got.Sections) == len(whole.Sections) && got.Fields == whole.Fields && got.Open == whole.Open,
		"Escape shows the whole page again: %d operations, %d sections, %d fields",
		len(got.Operations), len(got.Sections), got.Fields)
	return d.linkToHidden(ctx)
}

// linkToHidden follows a link from a visible part of a searched page to a hidden one.
func (d *docsReader) linkToHidden(ctx context.Context) error {
	if _, err := d.typed(ctx, "[duplicate]refreshTokenId"); err != nil {
		return err
	}
	hit, err := d.click(ctx, `[...document.querySelectorAll('article a[href="#error-duplicate"]')]
		.find(a => a.checkVisibility())`)
	if err != nil {
		return err
	}
	var row struct {
		Hash    string
		Visible bool
	}
	if err := d.t.eval(ctx, `
		await new Promise(requestAnimationFrame);
		const box = document.querySelector('#error-duplicate').getBoundingClientRect();
		return {hash: location.hash, visible: box.height > 0 && box.top >= 0 && box.bottom <= innerHeight};
	`, nil, &row); err != nil {
		return err
	}
	d.h.check(hit && row.Visible && row.Hash == "#error-duplicate",
		"an error code leads to its row, which the search had hidden: %s", row.Hash)
	return nil
}

func (d *docsReader) copies(ctx context.Context) error {
	var n struct{ Requests, Buttons int }
	if err := d.t.eval(ctx, `return {
		requests: document.querySelectorAll('[data-copy]').length,
		buttons: document.querySelectorAll('button.copy + [data-copy]').length,
	};`, nil, &n); err != nil {
		return err
	}
	d.h.check(n.Requests > 5 && n.Buttons == n.Requests,
		"%d of %d requests and addresses have a copy button", n.Buttons, n.Requests)
	copied := func() (text, label string, err error) {
		var r struct{ Text, Label string }
		err = d.t.eval(ctx, `
			const button = document.activeElement;
			for (const end = performance.now() + 5000; button.textContent == 'Copy' && performance.now() < end;) {
				await new Promise(requestAnimationFrame);
			}
			return {text: await navigator.clipboard.readText(), label: button.textContent};
		`, nil, &r)
		return r.Text, r.Label, err
	}
	hit, err := d.click(ctx, `document.querySelector('#issue .code .copy')`)
	if err != nil {
		return err
	}
	text, label, err := copied()
	if err != nil {
		return err
	}
	d.h.check(hit && label == "Copied" && strings.HasPrefix(text, "curl -i -X POST '") && strings.HasSuffix(text, "}'"),
		"a click copies the request, and says %q: %.60q…", label, text)
	// By keyboard.
	if err := d.t.eval(ctx, `document.querySelector('.url .copy').focus();`, nil, nil); err != nil {
		return err
	}
	if err := d.press(ctx, "Enter", "\r"); err != nil {
		return err
	}
	text, label, err = copied()
	if err != nil {
		return err
	}
	d.h.check(label == "Copied" && strings.HasPrefix(text, "http") && strings.HasSuffix(text, "/openapi.yaml"),
		"Enter copies the document's address, and says %q: %s", label, text)
	return nil
}

// The window of a phone.
const phoneWidth, phoneHeight = 390, 844

func (d *docsReader) thumbs(ctx context.Context) error {
	if err := d.call(ctx, "Emulation.setDeviceMetricsOverride", object{
		"width": phoneWidth, "height": phoneHeight, "deviceScaleFactor": 2, "mobile": true,
	}); err != nil {
		return err
	}
	return d.reachesAll(ctx, "with the script")
}

// reachesAll goes to every operation by the contents, as on a phone.
func (d *docsReader) reachesAll(ctx context.Context, how string) error {
	var ids []string
	if err := d.t.eval(ctx, `return [...document.querySelectorAll('article')].map(e => e.id);`, nil, &ids); err != nil {
		return err
	}
	reached := 0
	for _, id := range ids {
		var open bool
		if err := d.t.eval(ctx, `scrollTo(0, 0); return document.querySelector('#toc').matches(':popover-open');`,
			nil, &open); err != nil {
			return err
		}
		if !open {
			if hit, err := d.click(ctx, `document.querySelector('.menu')`); err != nil || !hit {
				d.h.fail("at %d px %s the contents cannot be opened: %v", phoneWidth, how, err)
				return err
			}
		}
		hit, err := d.click(ctx, `document.querySelector('#toc a[href="#`+id+`"]')`)
		if err != nil {
			return err
		}
		var at struct {
			Hash string
			Top  float64
		}
		// Without scripts the page has no timer to wait by: the test polls it, for far longer than it needs.
		there := false
		for i := 0; i < 300 && hit && !there; i++ {
			if err := d.t.eval(ctx, `
				return {hash: location.hash, top: document.getElementById(given).getBoundingClientRect().top};
			`, id, &at); err != nil {
				return err
			}
			there = at.Hash == "#"+id && at.Top >= 0 && at.Top < phoneHeight/2
		}
		if there {
			reached++
			continue
		}
		d.h.fail("at %d px %s the operation %s: got to %s, %.0f px below the top", phoneWidth, how, id, at.Hash, at.Top)
	}
	var wide int
	if err := d.t.eval(ctx, `
		for (const details of document.querySelectorAll('details')) details.open = true;
		return Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
	`, nil, &wide); err != nil {
		return err
	}
	d.h.check(len(ids) > 0 && reached == len(ids) && wide <= phoneWidth,
		"at %d px %s, %d of %d operations are reached by the contents; with everything open the page is %d px wide",
		phoneWidth, how, reached, len(ids), wide)
	return nil
}

func (d *docsReader) readsWithoutScript(ctx context.Context) error {
	if err := d.call(ctx, "Emulation.setScriptExecutionDisabled", object{"value": true}); err != nil {
		return err
	}
	if err := d.t.navigate(ctx, "https://"+authHost+"/docs?"); err != nil {
		return err
	}
	var controls int
	if err := d.t.eval(ctx, `
		return [...document.querySelectorAll('input, .copy')].filter(e => e.checkVisibility()).length;
	`, nil, &controls); err != nil {
		return err
	}
	d.h.check(controls == 0, "without scripts the page shows %d controls that would need one", controls)
	return d.reachesAll(ctx, "without scripts")
}
