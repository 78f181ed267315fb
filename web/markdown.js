// Text of the model to elements. The text is not trusted, so no HTML is made of it at any point:
// marked cuts it into tokens, each token becomes an element made here, and HTML in the text stays
// text. Nothing is loaded from elsewhere.
/* global marked, katex */
import {element} from './element.js';

// $$..$$ and \[..\] for displayed, $..$ and \(..\) for inline formulas. A single dollar counts only
// if no blank follows it, none precedes its partner, and no digit comes after: prices stay prices.
const displayed = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])/;
const inline = /^(?:\\\(([\s\S]+?)\\\)|\$(?!\s)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d))/;

function formula(name, level, pattern, start) {
  return {
    name,
    level,
    start(src) {
      const at = src.search(start);
      return at < 0 ? undefined : at;
    },
    tokenizer(src) {
      const match = pattern.exec(src);
      return match ? {type: name, raw: match[0], text: match[1] ?? match[2]} : undefined;
    },
  };
}

marked.use({
  gfm: true,
  extensions: [
    formula('formulaBlock', 'block', displayed, /\$\$|\\\[/),
    formula('formulaDisplayed', 'inline', displayed, /\$\$|\\\[/),
    formula('formulaInline', 'inline', inline, /\$|\\\(/),
  ],
});

const inert = new DOMParser();

// marked escapes the text of its tokens for HTML; the characters themselves are wanted here.
function characters(text) {
  return text.includes('&') ? inert.parseFromString(text.replaceAll('<', '&lt;'), 'text/html').documentElement.textContent : text;
}

function math(source, displayMode) {
  const span = element('span', {class: displayMode ? 'math display' : 'math'});
  try {
    katex.render(source, span, {displayMode, throwOnError: false, maxExpand: 200, maxSize: 30});
  } catch {
    span.textContent = source;
  }
  return span;
}

function codeBlock(text) {
  const button = element('button', {type: 'button', class: 'copy'}, 'Copy');
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = 'Copy'), 1500);
  });
  return element('pre', {tabindex: 0}, element('code', {}, text), button);
}

function link(href, title, children) {
  if (!/^(?:https?:|mailto:)/i.test(href)) return element('span', {}, ...children);
  return element('a', {href, title, target: '_blank', rel: 'noopener noreferrer'}, ...children);
}

function listItem(item) {
  const box = item.task ? element('input', {type: 'checkbox', disabled: true, checked: item.checked}) : null;
  return element('li', {}, box, ...blocks(item.tokens, item.loose));
}

function table(token) {
  const row = (tag, cells) => element('tr', {}, ...cells.map((c, i) => element(tag, {class: token.align[i]}, ...inlines(c.tokens))));
  return element('table', {}, element('thead', {}, row('th', token.header)),
                 element('tbody', {}, ...token.rows.map((r) => row('td', r))));
}

const block = {
  space: () => null,
  def: () => null,
  hr: () => element('hr'),
  code: (t) => codeBlock(t.text),
  heading: (t) => element(`h${Math.min(6, t.depth + 2)}`, {class: `level${t.depth}`}, ...inlines(t.tokens)),
  blockquote: (t) => element('blockquote', {}, ...blocks(t.tokens)),
  list: (t) => element(t.ordered ? 'ol' : 'ul', {start: t.ordered && t.start !== 1 ? t.start : null}, ...t.items.map(listItem)),
  table,
  paragraph: (t) => element('p', {}, ...inlines(t.tokens)),
  html: (t) => element('p', {}, t.raw.trim()),
  formulaBlock: (t) => math(t.text, true),
};

const span = {
  text: (t) => (t.tokens ? element('span', {}, ...inlines(t.tokens)) : characters(t.text)),
  escape: (t) => characters(t.text),
  html: (t) => t.raw,
  br: () => element('br'),
  strong: (t) => element('strong', {}, ...inlines(t.tokens)),
  em: (t) => element('em', {}, ...inlines(t.tokens)),
  del: (t) => element('del', {}, ...inlines(t.tokens)),
  codespan: (t) => element('code', {}, characters(t.text)),
  link: (t) => link(characters(t.href), t.title, inlines(t.tokens)),
  // Pictures of other servers would tell them who reads: they are links.
  image: (t) => link(characters(t.href), t.title, [characters(t.text) || 'picture']),
  formulaDisplayed: (t) => math(t.text, true),
  formulaInline: (t) => math(t.text, false),
};

function inlines(tokens) {
  return (tokens ?? []).map((t) => (span[t.type] ?? ((x) => x.raw))(t));
}

// A tight list's text is no paragraph.
function blocks(tokens, loose = true) {
  return tokens.map((t) => {
    if (t.type === 'text') return loose ? element('p', {}, ...inlines(t.tokens ?? [t])) : element('span', {}, ...inlines(t.tokens ?? [t]));
    return (block[t.type] ?? ((x) => element('p', {}, x.raw)))(t);
  });
}

/// Replaces what an element shows by rendered markdown.
export function renderMarkdown(parent, text) {
  parent.replaceChildren(...blocks(marked.lexer(text)).filter((e) => e != null));
}
