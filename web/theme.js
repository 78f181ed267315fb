// Before the first paint: the theme that was chosen, if one was.
{
  let theme = null;
  try {
    theme = localStorage.getItem('octet.theme');
  } catch {
    // storage is switched off
  }
  if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
}
