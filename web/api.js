// The server, as any client of its OpenAI API sees it.

/// An error that the server told, or that the way to it had. status 0: no answer at all.
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers(key) {
  const h = {'Content-Type': 'application/json'};
  if (key) h.Authorization = `Bearer ${key}`;
  return h;
}

async function fail(response) {
  let message = `${response.status} ${response.statusText}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // no error object: the status has to do
  }
  throw new ApiError(response.status, message);
}

async function call(path, options) {
  try {
    return await fetch(path, options);
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new ApiError(0, 'The server cannot be reached.');
  }
}

/// {id, max_model_len, capabilities}; throws ApiError 503 while the model is being loaded.
export async function loadModel(key) {
  const response = await call('v1/models', {headers: headers(key)});
  if (!response.ok) await fail(response);
  return (await response.json()).data[0];
}

/// {status, progress} of a server that may still be loading.
export async function health() {
  const response = await call('health', {});
  return response.json().catch(() => ({status: 'unknown'}));
}

/// Yields the JSON of each frame of a chat's stream, until [DONE].
export async function* streamChat(body, key, signal) {
  const response = await call('v1/chat/completions',
                              {method: 'POST', headers: headers(key), body: JSON.stringify(body), signal});
  if (!response.ok) await fail(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {done, value} = await reader.read().catch((e) => {
      if (e.name === 'AbortError') throw e;
      throw new ApiError(0, 'The connection broke off.');
    });
    if (done) throw new ApiError(0, 'The connection broke off.');
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0;) {
      const frame = text.slice(0, end);
      text = text.slice(end + 2);
      if (!frame.startsWith('data: ')) continue;
      const data = frame.slice(6);
      if (data === '[DONE]') return;
      const json = JSON.parse(data);
      if (json.error) throw new ApiError(json.error.code ?? 500, json.error.message);
      yield json;
    }
  }
}
