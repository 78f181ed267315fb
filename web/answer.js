// One answer as it comes: frames of the stream in, a message out, with the figures that the page
// shows. Knows no page.

/// A message of the assistant, in the form in which it is kept and sent back.
export function newAnswer() {
  return {role: 'assistant', content: '', reasoning: '', tool_calls: [], figures: null, finish: null, error: null};
}

/// Takes one frame in. Returns what changed: 'text', 'progress', 'usage' or null.
export function takeFrame(answer, frame, clock) {
  if (frame.prompt_progress && !frame.choices?.[0]?.delta?.content) answer.progress = frame.prompt_progress;
  if (frame.usage) {
    const seconds = (clock.last - clock.first) / 1000;
    answer.figures = {
      prompt: frame.usage.prompt_tokens,
      cached: frame.usage.prompt_tokens_details?.cached_tokens ?? 0,
      completion: frame.usage.completion_tokens,
      total: frame.usage.total_tokens,
      wait: clock.first ? (clock.first - clock.start) / 1000 : null,
      perSecond: seconds > 0 && frame.usage.completion_tokens > 1 ? (frame.usage.completion_tokens - 1) / seconds : null,
    };
    if (!frame.choices?.length) return 'usage';
  }
  const choice = frame.choices?.[0];
  if (!choice) return frame.prompt_progress ? 'progress' : null;
  const delta = choice.delta ?? {};
  let changed = null;
  const now = performance.now();
  const text = (key, more) => {
    answer[key] += more;
    changed = 'text';
  };
  if (delta.reasoning ?? delta.reasoning_content) text('reasoning', delta.reasoning ?? delta.reasoning_content);
  if (delta.content) text('content', delta.content);
  for (const call of delta.tool_calls ?? []) {
    const known = (answer.tool_calls[call.index] ??= {id: '', type: 'function', function: {name: '', arguments: ''}});
    if (call.id) known.id = call.id;
    if (call.function?.name) known.function.name = call.function.name;
    known.function.arguments += call.function?.arguments ?? '';
    changed = 'text';
  }
  if (changed) {
    clock.first ??= now;
    clock.last = now;
    delete answer.progress;
  }
  if (choice.finish_reason) {
    answer.finish = choice.finish_reason;
    changed ??= 'text';
  }
  return changed ?? (frame.prompt_progress ? 'progress' : null);
}

/// The messages of a request from those of a conversation. Broken answers without text are left out.
export function requestMessages(conversation, system) {
  const out = system ? [{role: 'system', content: system}] : [];
  for (const m of conversation.messages) {
    if (m.role === 'assistant') {
      if (!m.content && !m.tool_calls.length && !m.reasoning) continue;
      const sent = {role: 'assistant', content: m.content || null};
      if (m.reasoning) sent.reasoning_content = m.reasoning;
      if (m.tool_calls.length) sent.tool_calls = m.tool_calls;
      out.push(sent);
    } else if (m.role === 'tool') {
      out.push({role: 'tool', tool_call_id: m.tool_call_id, content: m.content});
    } else if (m.pictures?.length) {
      out.push({role: 'user', content: [
        ...m.pictures.map((url) => ({type: 'image_url', image_url: {url}})),
        {type: 'text', text: m.content},
      ]});
    } else {
      out.push({role: 'user', content: m.content});
    }
  }
  return out;
}
