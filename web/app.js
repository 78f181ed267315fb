// The page: conversations on the left, one of them in the middle, a box to write in. State lives in
// `conversation`; every change is saved and drawn from it.
import {ApiError, health, loadModel, streamChat} from './api.js';
import {element} from './element.js';
import {newAnswer, requestMessages, takeFrame} from './answer.js';
import {deleteAll, deleteConversation, loadConversations, loadSettings, saveConversation, saveSettings, saveTheme} from './store.js';
import {assistantMessage, toolMessage, userMessage} from './view.js';

const $ = (id) => document.getElementById(id);
const numbers = ['temperature', 'top_p', 'top_k', 'min_p', 'presence_penalty', 'repetition_penalty', 'max_tokens', 'thinking_token_budget', 'seed'];
const examples = ['What can you do?', 'What is the capital of France?', 'Write a short poem about the sea.'];

let settings = loadSettings();
let conversations = [];
let conversation = null;
let model = null;
let running = null;  // {controller, conversation}
let pictures = [];
let views = [];

// -- drawing -------------------------------------------------------------------------------

function atEnd() {
  const log = $('log');
  return log.scrollHeight - log.scrollTop - log.clientHeight < 80;
}

function toEnd() {
  $('log').scrollTop = $('log').scrollHeight;
}

function tell(text) {
  $('status').textContent = text;
}

function drawList() {
  $('conversations').replaceChildren(...conversations.map((c) =>
      element('li', {class: c === conversation ? 'current' : ''},
              element('button', {type: 'button', class: 'open', 'aria-current': c === conversation ? 'true' : null, onclick: () => show(c)},
                      element('span', {}, c.title)),
              element('button', {type: 'button', class: 'remove', 'aria-label': `Delete ${c.title}`, onclick: () => remove(c)}, '×'))));
}

function drawContext() {
  const used = [...conversation.messages].reverse().find((m) => m.figures)?.figures.total ?? 0;
  const meter = $('context');
  meter.hidden = !model || !used;
  if (meter.hidden) return;
  const share = Math.min(100, (100 * used) / model.max_model_len);
  meter.querySelector('.fill').style.width = `${share}%`;
  meter.querySelector('.bar').classList.toggle('full', share > 90);
  meter.setAttribute('aria-valuenow', share.toFixed(0));
  meter.setAttribute('aria-valuetext', `${used} of ${model.max_model_len} tokens`);
  meter.querySelector('span').textContent = `${used.toLocaleString()} / ${model.max_model_len.toLocaleString()}`;
}

function drawMessages() {
  views = [];
  const items = conversation.messages.map((m, i) => {
    if (m.role === 'user') return userMessage(m, {edit});
    if (m.role === 'tool') return toolMessage(m);
    const view = assistantMessage(m, {retry, results});
    view.message = m;
    views.push(view);
    view.update(running?.answer === m, i === conversation.messages.length - 1);
    return view.item;
  });
  $('messages').replaceChildren(...items);
  $('empty').hidden = items.length > 0;
  $('title').textContent = conversation.title;
  document.title = conversation.messages.length ? `${conversation.title} · octet` : 'octet';
  drawContext();
  drawButtons();
}

function drawButtons() {
  const here = running?.conversation === conversation;
  $('stop').hidden = !here;
  $('send').hidden = here;
  $('send').disabled = !model;
}

function drawAttachments() {
  $('attachments').replaceChildren(...pictures.map((src, i) =>
      element('div', {}, element('img', {src, alt: `Picture ${i + 1}`}),
              element('button', {type: 'button', 'aria-label': `Remove picture ${i + 1}`, onclick: () => {
                pictures.splice(i, 1);
                drawAttachments();
              }}, '×'))));
}

// -- conversations -------------------------------------------------------------------------

function fresh() {
  return {id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, title: 'New conversation', changed: Date.now(), messages: []};
}

function show(c) {
  conversation = c;
  closeSidebar();
  drawList();
  drawMessages();
  toEnd();
  $('prompt').focus();
}

async function save(c) {
  c.changed = Date.now();
  if (!conversations.includes(c)) conversations.unshift(c);
  try {
    await saveConversation(c);
  } catch {
    tell('This browser has no room to keep the conversation.');
  }
}

async function remove(c) {
  if (running?.conversation === c) running.controller.abort();
  conversations = conversations.filter((x) => x !== c);
  await deleteConversation(c.id);
  if (c === conversation) show(conversations[0] ?? fresh());
  else drawList();
}

// -- answering -----------------------------------------------------------------------------

function body() {
  const b = {
    model: model.id,
    messages: requestMessages(conversation, settings.system),
    stream: true,
    stream_options: {include_usage: true},
    return_progress: true,
    chat_template_kwargs: {enable_thinking: $('think').getAttribute('aria-pressed') === 'true'},
  };
  for (const name of numbers) if (settings[name] !== undefined) b[name] = settings[name];
  if (settings.tools?.length) b.tools = settings.tools;
  return b;
}

async function answer() {
  if (running || !model) return;
  const c = conversation;
  const message = newAnswer();
  const request = body();
  c.messages.push(message);
  const controller = new AbortController();
  running = {controller, conversation: c, answer: message};
  drawMessages();
  toEnd();
  tell('');
  const clock = {start: performance.now()};
  try {
    for await (const frame of streamChat(request, settings.key, controller.signal)) {
      if (!takeFrame(message, frame, clock)) continue;
      if (c !== conversation) continue;
      const follow = atEnd();
      views.find((v) => v.message === message)?.update(true, true);
      if (follow) requestAnimationFrame(toEnd);
    }
  } catch (e) {
    if (e.name === 'AbortError') message.stopped = true;
    else {
      message.error = e.message;
      if (e.status === 401) openSettings('s-key');
    }
  }
  delete message.progress;
  if (message.error && !message.content && !message.reasoning && !message.tool_calls.length) message.failed = true;
  running = null;
  await save(c);
  drawList();
  if (c === conversation) {
    const follow = atEnd();
    drawMessages();
    if (follow) toEnd();
    announce(message);
  } else {
    drawButtons();
  }
}

// Screen readers hear the finished answer once, not every word as it comes.
function announce(message) {
  $('announcer').textContent = message.error ?? (message.content || (message.tool_calls.length ? 'The model calls a tool.' : ''));
}

async function send(text) {
  if (running || !model || (!text && !pictures.length)) return;
  const message = {role: 'user', content: text};
  if (pictures.length) message.pictures = pictures;
  if (!conversation.messages.length) conversation.title = (text || 'Picture').split('\n')[0].slice(0, 80);
  conversation.messages.push(message);
  pictures = [];
  drawAttachments();
  await save(conversation);
  drawList();
  await answer();
}

async function edit(message, text) {
  if (running) return;
  const at = conversation.messages.indexOf(message);
  conversation.messages.splice(at);
  if (at === 0) conversation.title = text.split('\n')[0].slice(0, 80);
  conversation.messages.push({...message, content: text});
  await answer();
}

async function retry() {
  if (running) return;
  conversation.messages.pop();
  await answer();
}

async function results(list) {
  if (running) return;
  for (const {call, text} of list)
    conversation.messages.push({role: 'tool', tool_call_id: call.id, name: call.function.name, content: text});
  await answer();
}

// -- settings ------------------------------------------------------------------------------

function openSettings(focus) {
  for (const name of numbers) $(`s-${name}`).value = settings[name] ?? '';
  $('s-system').value = settings.system ?? '';
  $('s-tools').value = settings.tools?.length ? JSON.stringify(settings.tools, null, 2) : '';
  $('s-key').value = settings.key ?? '';
  $('tools-error').textContent = '';
  $('settings').showModal();
  if (focus) $(focus).focus();
}

function readSettings() {
  const next = {};
  for (const name of numbers) {
    const value = $(`s-${name}`).valueAsNumber;
    if (!Number.isNaN(value)) next[name] = value;
  }
  if ($('s-system').value.trim()) next.system = $('s-system').value;
  if ($('s-key').value) next.key = $('s-key').value;
  const tools = $('s-tools').value.trim();
  if (tools) {
    try {
      next.tools = JSON.parse(tools);
      if (!Array.isArray(next.tools)) throw new Error('a list is expected');
    } catch (e) {
      $('tools-error').textContent = `Not a list of tools: ${e.message}`;
      return false;
    }
  }
  settings = next;
  saveSettings(settings);
  return true;
}

function openSidebar() {
  $('sidebar').classList.add('open');
  $('scrim').hidden = false;
  $('open-sidebar').setAttribute('aria-expanded', 'true');
  $('new-chat').focus();
}

function closeSidebar() {
  $('sidebar').classList.remove('open');
  $('scrim').hidden = true;
  $('open-sidebar').setAttribute('aria-expanded', 'false');
}

async function addPictures(files) {
  if ($('attach').disabled) return;
  for (const file of files) {
    if (!file.type.startsWith('image/')) continue;
    pictures.push(await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(file);
    }));
  }
  drawAttachments();
}

// -- the server ----------------------------------------------------------------------------

async function connect() {
  for (;;) {
    try {
      model = await loadModel(settings.key);
      break;
    } catch (e) {
      if (!(e instanceof ApiError)) throw e;
      if (e.status === 401) {
        tell('This server asks for a key: Settings, API key.');
        return;
      }
      const state = e.status === 503 ? await health().catch(() => null) : null;
      tell(state?.status === 'loading' ? `The model is being loaded: ${Math.round(100 * (state.progress ?? 0))} %` : `${e.message} Trying again.`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  tell('');
  $('model').textContent = model.id;
  if (model.capabilities?.includes('multimodal')) {
    $('attach').disabled = false;
    $('attach').title = 'Add a picture';
  }
  drawContext();
  drawButtons();
}

// -- events --------------------------------------------------------------------------------

function growPrompt() {
  const p = $('prompt');
  p.style.height = 'auto';
  p.style.height = `${p.scrollHeight}px`;
}

async function submit() {
  const text = $('prompt').value.trim();
  if (running || !model || (!text && !pictures.length)) return;
  $('prompt').value = '';
  growPrompt();
  await send(text);
}

function wire() {
  document.body.append(element('div', {id: 'announcer', class: 'hidden', 'aria-live': 'polite'}));
  $('examples').append(...examples.map((text) => element('button', {type: 'button', onclick: () => send(text)}, text)));
  $('composer').addEventListener('submit', (e) => {
    e.preventDefault();
    submit();
  });
  $('prompt').addEventListener('input', growPrompt);
  $('prompt').addEventListener('keydown', (e) => {
    if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
      e.preventDefault();
      submit();
    }
  });
  $('prompt').addEventListener('paste', (e) => addPictures(e.clipboardData.files));
  $('log').addEventListener('dragover', (e) => e.preventDefault());
  $('log').addEventListener('drop', (e) => {
    e.preventDefault();
    addPictures(e.dataTransfer.files);
  });
  $('attach').addEventListener('click', () => $('file').click());
  $('file').addEventListener('change', async () => {
    await addPictures($('file').files);
    $('file').value = '';
  });
  $('stop').addEventListener('click', () => running?.controller.abort());
  $('think').addEventListener('click', () => {
    const on = $('think').getAttribute('aria-pressed') !== 'true';
    $('think').setAttribute('aria-pressed', String(on));
  });
  $('new-chat').addEventListener('click', () => show(fresh()));
  $('open-settings').addEventListener('click', () => openSettings());
  $('settings-done').addEventListener('click', (e) => {
    e.preventDefault();
    if (!readSettings()) return;
    $('settings').close();
    if (!model) connect();
  });
  $('delete-all').addEventListener('click', async () => {
    if (!confirm('Delete all conversations from this browser?')) return;
    running?.controller.abort();
    await deleteAll();
    conversations = [];
    $('settings').close();
    show(fresh());
  });
  $('toggle-theme').addEventListener('click', () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    saveTheme(root.dataset.theme);
  });
  $('open-sidebar').addEventListener('click', openSidebar);
  $('scrim').addEventListener('click', closeSidebar);
  $('to-end').addEventListener('click', toEnd);
  $('log').addEventListener('scroll', () => ($('to-end').hidden = atEnd()));
  document.addEventListener('keydown', (e) => {
    if (e.key === 'Escape' && !$('settings').open) {
      if (running?.conversation === conversation) running.controller.abort();
      closeSidebar();
    } else if (e.key.toLowerCase() === 'o' && e.shiftKey && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      show(fresh());
    }
  });
}

wire();
conversations = await loadConversations().catch(() => []);
show(fresh());
await connect();
