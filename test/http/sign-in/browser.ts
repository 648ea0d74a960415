/** An HTTP client that keeps cookies and follows redirections as a browser does, without one. */
export interface Browser {
  /** What it has, as `name=value`, by hosts; ports tell no cookies apart. */
  readonly cookies: Map<string, Map<string, string>>;
  /** Asks once, and follows nothing. */
  readonly ask: (url: string, init?: RequestInit) => Promise<Response>;
  /** Goes where it is sent, and fills in what it is asked for, until it has been shown something of `origin`. */
  readonly signIn: (origin: string, returnUrl?: string, name?: string) => Promise<Response>;
  /** The same, up to the address with which the provider sends it back. */
  readonly untilCallback: (origin: string, returnUrl?: string, name?: string) => Promise<string>;
}

export function openBrowser(): Browser {
  const cookies = new Map<string, Map<string, string>>();

  async function ask(url: string, init: RequestInit = {}): Promise<Response> {
    const { hostname } = new URL(url);
    const own = cookies.get(hostname) ?? new Map<string, string>();
    cookies.set(hostname, own);
    const cookie = [...own].map((pair) => pair.join('=')).join('; ');
    const headers = { ...(cookie !== '' && { cookie }), ...(init.headers as Record<string, string>) };
    const response = await fetch(url, { ...init, headers, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [pair = '', ...attributes] = line.split('; ');
      const at = pair.indexOf('=');
      const isGone = attributes.some((each) => /^(?:max-age=0|expires=Thu, 01 Jan 1970.*)$/i.test(each));
      if (isGone) own.delete(pair.slice(0, at));
      else own.set(pair.slice(0, at), pair.slice(at + 1));
    }
    return response;
  }

  async function untilCallback(origin: string, returnUrl = '/docs/explorer.html', name = 'alice') {
    let url = `${origin}/auth/login?return_url=${encodeURIComponent(returnUrl)}`;
    let init: RequestInit = {};
    for (let step = 0; step < 20; step++) {
      const response = await ask(url, init);
      const location = response.headers.get('location');
      if (location !== null) {
        url = new URL(location, url).href;
        init = {};
        if (new URL(url).pathname === '/auth/callback') return url;
        continue;
      }
      const text = await response.text();
      const [, action] = /<form[^>]* action="([^"]+)"/.exec(text) ?? [];
      if (action === undefined) throw new Error(`${response.status} without a form: ${text}`);
      const [, prompt = ''] = /name="prompt" value="(\w+)"/.exec(text) ?? [];
      url = new URL(action, url).href;
      init = { method: 'POST', body: new URLSearchParams({ prompt, login: name, password: 'any' }) };
    }
    throw new Error('The provider asks for ever more');
  }

  return {
    cookies,
    ask,
    untilCallback,
    async signIn(origin, returnUrl, name) {
      const back = await ask(await untilCallback(origin, returnUrl, name));
      const location = back.headers.get('location');
      return location === null ? back : await ask(new URL(location, origin).href);
    },
  };
}

/** What the page asks of itself when it changes something. */
export function fromOurPage(origin: string): Record<string, string> {
  return { origin, 'x-requested-with': 'fetch' };
}
