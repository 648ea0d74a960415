import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { Field } from '../field.tsx';
import { go, location } from '../router.ts';
import { devLogin, session, signInWithToken, ways } from '../session.ts';
import { Title } from '../title.tsx';

/** The page on which one says who one is. */
export function SignInPage(): JSX.Element {
  const isSignedIn = typeof session.value === 'object';
  return (
    <div class="narrow">
      <Title title="Sign in" />
      {isSignedIn ? (
        <p>
          You are signed in. This tab may be closed, or <a href="/">go to the library</a>.
        </p>
      ) : (
        <SignIn />
      )}
    </div>
  );
}

/** All ways to sign in that there are here. @param isAside whether another page is to stay as it is */
export function SignIn({ isAside = false }: { readonly isAside?: boolean }): JSX.Element {
  const { elsewhere, dev } = ways.value;
  return (
    <>
      {elsewhere && <ProviderLink isAside={isAside} />}
      {dev && <DevLogin />}
      <PastedToken isFolded={elsewhere || dev} />
    </>
  );
}

function ProviderLink({ isAside }: { readonly isAside: boolean }): JSX.Element {
  const { path, query } = location.value;
  const search = query.toString();
  const back = isAside || path === '/sign-in' ? '/sign-in' : path + (search === '' ? '' : `?${search}`);
  return (
    <p>
      <a
        class="button primary"
        href={`/auth/login?return_url=${encodeURIComponent(back)}`}
        {...(isAside && { target: '_blank' })}
      >
        Sign in{isAside && ' (in a new tab)'}
      </a>
    </p>
  );
}

function DevLogin(): JSX.Element {
  const [subject, setSubject] = useState('dev-user-1');
  const [roles, setRoles] = useState('developer, admin');
  const [error, setError] = useState<string>();
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        devLogin(subject, roles).then(leave, (reason: Error) => setError(reason.message));
      }}
    >
      <h2>Login for developers</h2>
      <Field label="Subject">
        {(attributes) => (
          <input
            {...attributes}
            required
            value={subject}
            onInput={(e) => setSubject(e.currentTarget.value)}
          />
        )}
      </Field>
      <Field label="Roles" hint="With commas between them" error={error}>
        {(attributes) => (
          <input {...attributes} value={roles} onInput={(e) => setRoles(e.currentTarget.value)} />
        )}
      </Field>
      <button type="submit" class="primary">
        Get a token
      </button>
    </form>
  );
}

function PastedToken({ isFolded }: { readonly isFolded: boolean }): JSX.Element {
  const [token, setToken] = useState('');
  const [error, setError] = useState<string>();
  const form = (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        signInWithToken(token.trim()).then(leave, (reason: Error) => setError(reason.message));
        setToken('');
      }}
    >
      <Field label="Token" hint="A JWT. It is kept until you sign out or close this tab." error={error}>
        {(attributes) => (
          <input
            {...attributes}
            type="password"
            autocomplete="off"
            spellcheck={false}
            required
            value={token}
            onInput={(e) => setToken(e.currentTarget.value)}
          />
        )}
      </Field>
      <button type="submit">Use this token</button>
    </form>
  );
  if (!isFolded) return form;
  return (
    <details>
      <summary>Paste a token</summary>
      {form}
    </details>
  );
}

function leave(): void {
  if (location.value.path === '/sign-in') go('/');
}
