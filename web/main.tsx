import { render } from 'preact';
import { App } from './app.tsx';
import { startRouter } from './router.ts';
import { openSession, refreshSession } from './session.ts';

startRouter();
render(<App />, document.querySelector('#page')!);
void openSession();
// Whoever signs in in another tab comes back to this one.
window.addEventListener('focus', () => void refreshSession());
