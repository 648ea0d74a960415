import { render } from 'preact';
import { App } from './app.tsx';
import { startRouter } from './router.ts';
import { openSession } from './session.ts';

startRouter();
render(<App />, document.querySelector('#page')!);
void openSession();
