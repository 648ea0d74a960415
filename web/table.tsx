import type { ComponentChildren, JSX } from 'preact';

interface TableProps {
  /** What it shows, for who cannot see it. */
  readonly label: string;
  readonly columns: readonly string[];
  /** Its rows. */
  readonly children: ComponentChildren;
}

/** A table that scrolls by itself where it is wider than the page. */
export function Table({ label, columns, children }: TableProps): JSX.Element {
  return (
    <div class="scroll" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
