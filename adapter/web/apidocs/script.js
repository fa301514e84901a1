// Search and copy buttons. The page is complete without this file: what only a script can do is made or shown here.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const box = document.querySelector("#search");
  const found = document.querySelector("#found");
  const main = document.querySelector("main");
  const toc = document.querySelector("#toc");

  // Search. The page is cut into units, which are the operations and the sections of the guide, and these into pieces:
  // fields, paragraphs, rows, samples. A unit is shown if its text has all words, and of it the pieces that have them.
  // It is shown whole if its heading has them, or none of its pieces has them all.
  const lower = (element) => element.textContent.toLowerCase();
  const pieces = "dt, p, li, tbody tr, .response > summary, .samples details";
  const containers = ".part, .variant, .scroll, ul, ol, .text details";
  let index, before;

  const piecesOf = (unit) => all(pieces, unit).flatMap((element) => {
    if (element.matches("dt")) {
      const own = element.nextElementSibling.cloneNode(true);
      all(".fields, .variant", own).forEach((nested) => nested.remove());
      return { shows: [element, element.nextElementSibling], text: lower(element) + " " + lower(own), field: true };
    }
    if (element.matches("summary")) return { shows: [element.parentElement], text: lower(element) };
    const labels = ".route, .credentials, .panel, .variant-name";
    if (element.matches(labels) || element.parentElement.closest("dd, summary")) return [];
    return { shows: [element], text: lower(element) };
  });

  const prepare = () => {
    const entries = new Map(all("#toc a").map((a) => [a.getAttribute("href"), a.parentElement]));
    index = all("main > .guide, article").map((element) => ({
      element, text: lower(element), heading: all("h2, h3, .route", element).map(lower).join(" "),
      entry: entries.get("#" + element.id), pieces: piecesOf(element), containers: all(containers, element),
    }));
  };

  // filter shows of a unit what matches, what holds it, and what is within it. It returns the number of fields that
  // match.
  const filter = (unit, has) => {
    const matching = unit.pieces.filter((piece) => has(piece.text));
    const whole = !matching.length || has(unit.heading);
    const matched = new Set(matching.flatMap((piece) => piece.shows));
    const holding = new Set();
    for (let element of matched) {
      while ((element = element.parentElement) !== unit.element) holding.add(element);
    }
    const within = (element) => element !== unit.element && (matched.has(element) || within(element.parentElement));
    for (const element of [...unit.pieces.flatMap((piece) => piece.shows), ...unit.containers]) {
      element.hidden = !whole && !holding.has(element) && !within(element);
    }
    for (const { field, shows: [name, description] } of unit.pieces) {
      if (field) name.hidden = description.hidden;
    }
    for (const details of all("details", unit.element)) {
      const found = holding.has(details) || (matched.has(details) && details.matches(".samples *"));
      details.open = found || before.open.has(details);
    }
    return matching.filter((piece) => piece.field).length;
  };

  const mark = (words) => {
    if (!CSS.highlights) return;
    CSS.highlights.delete("found");
    if (!words.length) return;
    const ranges = [];
    const markText = (node) => {
      const text = node.data.toLowerCase();
      if (text.length !== node.data.length) return; // a letter whose lower case is longer: places would be wrong
      for (const word of words) {
        for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
          const end = at + word.length;
          ranges.push(new StaticRange({ startContainer: node, startOffset: at, endContainer: node, endOffset: end }));
        }
      }
    };
    for (const { element } of index.filter((unit) => !unit.element.hidden)) {
      const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) markText(texts.currentNode);
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  };

  const count = (n, noun) => (n ? [n + " " + noun + (n > 1 ? "s" : "")] : []);

  const search = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return clear();
    if (!index) prepare();
    before ??= { scroll: scrollY, open: new Set(all("main details[open]")) };
    const has = (text) => words.every((word) => text.includes(word));
    let operations = 0, fields = 0, sections = 0;
    for (const unit of index) {
      const shown = has(unit.text);
      unit.element.hidden = !shown;
      if (unit.entry) unit.entry.hidden = !shown;
      if (!shown) continue;
      if (unit.element.matches("article")) {
        operations++;
      } else {
        sections++;
      }
      fields += filter(unit, has);
    }
    for (const group of all("main > .group")) group.hidden = all("article", group).every((a) => a.hidden);
    for (const list of all("#toc ul")) {
      list.hidden = list.previousElementSibling.hidden = [...list.children].every((li) => li.hidden);
    }
    main.classList.add("searching");
    const counts = [...count(operations, "operation"), ...count(fields, "field"), ...count(sections, "section")];
    found.textContent = counts.length ? counts.join(", ") + " found." : `Nothing found for “${box.value.trim()}”.`;
    mark(words);
    scrollTo(0, 0);
  };

  const clear = () => {
    box.value = "";
    if (!before) return;
    for (const element of all("main [hidden], #toc [hidden]")) element.hidden = false;
    for (const details of all("main details")) details.open = before.open.has(details);
    main.classList.remove("searching");
    found.textContent = "";
    mark([]);
    scrollTo(0, before.scroll);
    before = undefined;
  };

  // A link may lead to what the search hides.
  const reveal = (hash) => {
    const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
    if (target && target.closest("[hidden]")) clear();
  };

  box.addEventListener("input", search);
  box.addEventListener("keydown", (event) => {
    const results = "main section:not([hidden]) > h2 a, article:not([hidden]) h3 a";
    if (event.key === "Enter") document.querySelector(results)?.focus();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      clear();
    } else if (event.key === "/" && !(event.ctrlKey || event.metaKey || event.altKey) && event.target !== box) {
      event.preventDefault();
      box.focus();
      box.select();
    }
  });
  addEventListener("click", (event) => {
    const a = event.target.closest("a[href^='#']");
    if (!a) return;
    reveal(a.hash);
    if (toc.hidePopover && toc.matches(":popover-open")) toc.hidePopover();
  });
  addEventListener("hashchange", () => reveal(location.hash));
  document.querySelector("#searching").hidden = false;
  if (box.value) search(); // a browser that goes back fills the box in again

  // Copy buttons. The clipboard's API is there on HTTPS and on this machine only; elsewhere the older command does.
  const copy = async (source) => {
    const text = source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      getSelection().selectAllChildren(source);
      return document.execCommand("copy");
    }
  };
  const said = document.querySelector("#said");
  for (const source of all("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy: " + source.dataset.copy);
    let timer;
    button.addEventListener("click", async () => {
      const label = (await copy(source)) ? "Copied" : "Selected: press Ctrl+C";
      button.textContent = said.textContent = label;
      clearTimeout(timer);
      timer = setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
    });
    source.before(button);
  }
})();
