import type { JSX } from 'preact';
import { Text } from './inert.tsx';
import { AdminPage } from './pages/admin.tsx';
import { LibraryPage } from './pages/library.tsx';
import { RunPage } from './pages/run.tsx';
import { RunbookPage } from './pages/runbook.tsx';
import { RunsPage } from './pages/runs.tsx';
import { SignIn, SignInPage } from './pages/sign-in.tsx';
import { decoded, location } from './router.ts';
import { pageTitle, session, signOut } from './session.ts';

/** The frame of all pages, and the page that the address names. */
export function App(): JSX.Element {
  const { path } = location.value;
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <Header path={path} />
      <main id="content" tabIndex={-1}>
        {session.value === 'ended' && path !== '/sign-in' && <Ended />}
        <Page path={path} key={path} />
      </main>
    </>
  );
}

function Header({ path }: { readonly path: string }): JSX.Element {
  const who = session.value;
  return (
    <header class="top">
      <a class="brand" href="/">
        <Text value={pageTitle.value} />
      </a>
      <nav aria-label="Main">
        {typeof who === 'object' &&
          links.map(({ href, name, isHere }) => (
            <a key={href} href={href} aria-current={isHere(path) ? 'page' : undefined}>
              {name}
            </a>
          ))}
      </nav>
      <div class="who">
        {typeof who === 'object' && (
          <>
            <span class="subject" title={who.subject}>
              <Text value={who.subject} />
            </span>
            <button type="button" class="quiet" onClick={() => void signOut()}>
              Sign out
            </button>
          </>
        )}
      </div>
    </header>
  );
}

const links = [
  { href: '/', name: 'Library', isHere: (path: string) => path === '/' || path.startsWith('/runbooks/') },
  { href: '/runs', name: 'Runs', isHere: (path: string) => path.startsWith('/runs') },
  { href: '/admin', name: 'Admin', isHere: (path: string) => path === '/admin' },
];

function Page({ path }: { readonly path: string }): JSX.Element {
  if (session.value === 'unknown') return <p class="faint">Loading …</p>;
  if (session.value === 'out' || path === '/sign-in') return <SignInPage />;
  const [, area, name] = path.split('/');
  if (area === 'runbooks' && name) return <RunbookPage filename={decoded(name)} />;
  if (area === 'runs' && name) return <RunPage id={decoded(name)} />;
  if (area === 'runs') return <RunsPage />;
  if (area === 'admin') return <AdminPage />;
  return <LibraryPage />;
}

/** What is on the page stays: it may be a form that is half filled in, or a run that goes on. */
function Ended(): JSX.Element {
  return (
    <section class="panel warning" aria-label="Signed out" role="alert">
      <h2>Your session has ended</h2>
      <p>Sign in again to go on; what is on this page stays.</p>
      <SignIn isAside />
    </section>
  );
}
