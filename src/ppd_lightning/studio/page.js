// Arrow keys choose in the card that has the focus, else in the first one that is seen.
document.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.repeat) return;
  const target = event.target;
  if (target.closest('input, textarea, select, [role=tab], [role=slider], [role=listbox], [contenteditable]')) return;
  const cards = [...document.querySelectorAll('[data-keys]')].filter((card) => card.offsetParent !== null);
  const card = target.closest('[data-keys]') || cards[0];
  const button = card && card.querySelector(`[data-key="${event.key}"]`);
  if (!button) return;
  event.preventDefault();
  button.click();
});
