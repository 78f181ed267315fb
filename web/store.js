// Conversations and settings, kept in this browser only. Conversations lie in IndexedDB, because
// pictures are larger than what localStorage holds; where there is none, in memory.

const memory = new Map();
let database = null;

function request(r) {
  return new Promise((resolve, reject) => {
    r.onsuccess = () => resolve(r.result);
    r.onerror = () => reject(r.error);
  });
}

async function open() {
  if (database !== null) return database;
  try {
    const opening = indexedDB.open('octet', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('conversations', {keyPath: 'id'});
    database = await request(opening);
  } catch {
    database = false;
  }
  return database;
}

async function store(mode) {
  const db = await open();
  return db ? db.transaction('conversations', mode).objectStore('conversations') : null;
}

/// All conversations, newest first.
export async function loadConversations() {
  const s = await store('readonly');
  const all = s ? await request(s.getAll()) : [...memory.values()];
  return all.sort((a, b) => b.changed - a.changed);
}

export async function saveConversation(conversation) {
  const copy = structuredClone(conversation);
  const s = await store('readwrite');
  if (s) await request(s.put(copy));
  else memory.set(copy.id, copy);
}

export async function deleteConversation(id) {
  const s = await store('readwrite');
  if (s) await request(s.delete(id));
  else memory.delete(id);
}

export async function deleteAll() {
  const s = await store('readwrite');
  if (s) await request(s.clear());
  else memory.clear();
}

export function loadSettings() {
  try {
    return JSON.parse(localStorage.getItem('octet.settings')) ?? {};
  } catch {
    return {};
  }
}

export function saveSettings(settings) {
  try {
    localStorage.setItem('octet.settings', JSON.stringify(settings));
  } catch {
    // private mode: settings last as long as the page
  }
}

export function saveTheme(theme) {
  try {
    if (theme) localStorage.setItem('octet.theme', theme);
    else localStorage.removeItem('octet.theme');
  } catch {
    // as above
  }
}
