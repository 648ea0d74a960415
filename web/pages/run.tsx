import type { JSX } from 'preact';
import { Title } from '../title.tsx';
export function RunPage({ id }: { readonly id: string }): JSX.Element {
  return <Title title={`Run ${id}`} />;
}
