// Messages as elements. Each function makes or updates one; what buttons do comes from outside.
import {element} from './element.js';
import {renderMarkdown} from './markdown.js';

function button(label, onclick, attributes = {}) {
  return element('button', {type: 'button', onclick, ...attributes}, label);
}

function copyButton(text) {
  const b = button('Copy', async () => {
    await navigator.clipboard.writeText(text());
    b.textContent = 'Copied';
    setTimeout(() => (b.textContent = 'Copy'), 1500);
  });
  return b;
}

export function userMessage(message, actions) {
  const body = element('div', {class: 'body'}, message.content);
  const pictures = message.pictures?.length
      ? element('div', {class: 'pictures'}, ...message.pictures.map((src, i) => element('img', {src, alt: `Picture ${i + 1}`})))
      : null;
  const row = element('div', {class: 'tools-row'}, button('Edit', () => edit()), copyButton(() => message.content));
  const item = element('li', {class: 'user'}, element('h2', {class: 'hidden'}, 'You'), pictures, body, row);
  function edit() {
    const area = element('textarea', {rows: Math.min(12, message.content.split('\n').length + 1), 'aria-label': 'Edit your message'});
    area.value = message.content;
    const done = () => area.value.trim() && actions.edit(message, area.value.trim());
    const cancel = () => {
      form.replaceWith(body);
      row.hidden = false;
      row.querySelector('button').focus();
    };
    const form = element('div', {class: 'edit'}, area,
                         element('div', {class: 'tools-row'}, button('Send', done), button('Cancel', cancel)));
    area.addEventListener('keydown', (e) => {
      if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
        e.preventDefault();
        done();
      } else if (e.key === 'Escape') {
        e.stopPropagation();
        cancel();
      }
    });
    body.replaceWith(form);
    row.hidden = true;
    area.focus();
  }
  return item;
}

export function toolMessage(message) {
  return element('li', {class: 'tool'}, element('div', {class: 'call'}, element('h3', {}, `Result of ${message.name}`),
                                                element('pre', {}, message.content)));
}

function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}

function figures(message) {
  const f = message.figures;
  if (!f) return '';
  const parts = [];
  if (f.perSecond) parts.push(`${f.perSecond.toFixed(f.perSecond < 10 ? 1 : 0)} tokens/s`);
  if (f.wait != null) parts.push(f.wait < 1 ? `${(1000 * f.wait).toFixed(0)} ms to the first` : `${f.wait.toFixed(f.wait < 10 ? 1 : 0)} s to the first`);
  parts.push(`${f.completion} tokens`);
  if (f.cached) parts.push(`${f.cached} of ${f.prompt} cached`);
  return parts.join(' · ');
}

const reasons = {
  length: 'The answer ended at its limit of tokens.',
  abort: 'The server ended the answer.',
  repetition: 'The answer repeated itself and was ended.',
};

/// The answer's element; update() shows what has come since, at most once a frame.
export function assistantMessage(message, actions) {
  const thoughts = element('div', {class: 'text'});
  const summary = element('summary', {}, 'Thinking');
  const thinking = element('details', {class: 'thinking'}, summary, thoughts);
  const content = element('div', {class: 'markdown'});
  const calls = element('div', {class: 'calls'});
  const progress = element('div', {class: 'progress'});
  const problem = element('div', {class: 'problem', role: 'alert'});
  const row = element('div', {class: 'tools-row'});
  const item = element('li', {class: 'assistant'}, element('h2', {class: 'hidden'}, 'Answer'), thinking, content, calls,
                       progress, problem, row);
  let shownContent = null, frame = 0;

  function draw(running, last) {
    frame = 0;
    thinking.hidden = !message.reasoning;
    if (thoughts.textContent !== message.reasoning) thoughts.textContent = message.reasoning;
    summary.textContent = running && !message.content && !message.tool_calls.length ? 'Thinking …' : 'Thoughts';
    if (shownContent !== message.content) renderMarkdown(content, (shownContent = message.content));
    calls.replaceChildren(...message.tool_calls.map((call) =>
        element('section', {class: 'call', 'aria-label': `Call of ${call.function.name}`},
                element('h3', {}, `Calls ${call.function.name}`), element('pre', {}, pretty(call.function.arguments)))));
    if (last && !running && message.tool_calls.length) calls.append(resultForm());
    progress.classList.toggle('waiting', running && !message.content && !message.reasoning && !message.tool_calls.length);
    const p = message.progress;
    progress.replaceChildren();
    if (running && p && p.processed < p.total) {
      const fill = element('div', {class: 'fill'});
      fill.style.width = `${(100 * p.processed) / p.total}%`;
      progress.append(`Reading ${p.processed} of ${p.total} tokens `, element('span', {class: 'bar'}, fill), ' ');
    }
    const trouble = message.error ?? reasons[message.finish];
    problem.hidden = running || !trouble;
    problem.textContent = trouble ?? '';
    item.setAttribute('aria-busy', String(running));
    row.replaceChildren();
    if (!running) {
      row.append(copyButton(() => message.content));
      if (last) row.append(button('Retry', actions.retry));
      row.append(element('span', {class: 'quiet'}, message.stopped ? `stopped · ${figures(message)}` : figures(message)));
    }
  }

  // Results of the calls, typed in by hand: what a program would send back.
  function resultForm() {
    const areas = message.tool_calls.map((call) =>
        element('textarea', {rows: 2, 'aria-label': `Result of ${call.function.name}`, placeholder: `Result of ${call.function.name}`}));
    return element('div', {class: 'call'}, ...areas,
                   element('div', {class: 'tools-row'}, button('Send results', () =>
                       actions.results(message.tool_calls.map((call, i) => ({call, text: areas[i].value}))), {class: 'send'})));
  }

  return {
    item,
    update(running, last) {
      if (frame) cancelAnimationFrame(frame);
      if (running) frame = requestAnimationFrame(() => draw(running, last));
      else draw(running, last);
    },
  };
}
