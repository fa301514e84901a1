package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
)

// docsPart opens the API's page in a wide and in a narrow window: its own policy blocks nothing of it, and nothing is
// wider than the window. Then it uses the page. With -shots the part leaves pictures.
func docsPart(ctx context.Context, h *harness) error {
	p, err := h.browser.newProfile(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = p.close(context.WithoutCancel(ctx)) }()
	for _, width := range []int{1280, 390} {
		t, err := p.open(ctx, "about:blank")
		if err != nil {
			return err
		}
		tall, err := docsIn(ctx, h, t, width)
		if err != nil {
			return err
		}
		if h.shots == "" {
			continue
		}
		if err := picture(ctx, h, t, width, tall); err != nil {
			return err
		}
	}
	return useDocs(ctx, h)
}

// docsIn opens /docs in a window of that width, and returns the height of the page.
func docsIn(ctx context.Context, h *harness, t *page, width int) (tall int, err error) {
	if err := h.browser.call(ctx, t.session, "Emulation.setDeviceMetricsOverride", object{
		"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600,
	}, nil); err != nil {
		return 0, err
	}
	if err := h.browser.call(ctx, t.session, "Page.addScriptToEvaluateOnNewDocument", object{"source": `
		window.wrong = [];
		addEventListener('securitypolicyviolation', e => wrong.push(e.violatedDirective + ' ' + e.blockedURI), true);
		addEventListener('error', e => wrong.push(e.message || 'cannot load ' + (e.target.src || e.target.href)), true);
	`}, nil); err != nil {
		return 0, err
	}
	if err := t.navigate(ctx, "https://"+authHost+"/docs"); err != nil {
		return 0, err
	}
	var seen struct {
		Wrong            []string
		Text, Wide, Tall int
		Refused          bool // whether an inserted inline script was blocked
	}
	if err := t.eval(ctx, `
		const e = document.documentElement;
		const seen = {wrong: [...wrong], text: document.body.innerText.length, wide: e.scrollWidth, tall: e.scrollHeight};
		// Whether the policy is in force, and its violations are reported.
		const noticed = new Promise(done => addEventListener('securitypolicyviolation', () => done(true)));
		const script = document.createElement('script');
		script.append('window.ran = true');
		document.body.append(script);
		seen.refused = !window.ran && await noticed && wrong.length > seen.wrong.length;
		return seen;
	`, nil, &seen); err != nil {
		return 0, err
	}
	h.check(len(seen.Wrong) == 0 && seen.Refused && seen.Text > 1000 && seen.Wide <= width,
		"/docs in a window of %d px: %d px wide and %d px tall, blocked or failed: %q",
		width, seen.Wide, seen.Tall, seen.Wrong)
	return seen.Tall, nil
}

// picture takes pictures of the first window of the page, and of the whole page.
func picture(ctx context.Context, h *harness, t *page, width, tall int) error {
	for name, height := range map[string]int{"": 844, "-whole": min(tall, 12_000)} {
		var shot struct{ Data string }
		if err := h.browser.call(ctx, t.session, "Page.captureScreenshot", object{
			"format": "png", "captureBeyondViewport": true,
			"clip": object{"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
		}, &shot); err != nil {
			return err
		}
		png, err := base64.StdEncoding.DecodeString(shot.Data)
		if err != nil {
			return err
		}
		file := filepath.Join(h.shots, fmt.Sprintf("docs-%d%s.png", width, name))
		if err := os.WriteFile(file, png, 0o644); err != nil {
			return err
		}
		h.progress("%s", file)
	}
	return nil
}
