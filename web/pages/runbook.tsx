import type { JSX } from 'preact';
import { Title } from '../title.tsx';
export function RunbookPage({ filename }: { readonly filename: string }): JSX.Element {
  return <Title title={filename} />;
}
