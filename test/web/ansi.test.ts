import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createAnsi, type Piece } from '../../web/ansi.ts';

function read(...texts: string[]): Piece[] {
  const ansi = createAnsi();
  return texts.flatMap((text) => ansi(text));
}

function textOf(pieces: readonly Piece[]): string {
  return pieces.map(({ text }) => text).join('');
}

describe('the output of a script', () => {
  it.each([
    ['a colour', '\u001B[31mred\u001B[0m', 'f1'],
    ['a bright colour', '\u001B[92mgreen', 'f10'],
    ['a ground', '\u001B[44mblue', 'b4'],
    ['several at once', '\u001B[1;3;4;9;31;42mall', 'bold italic underline strike f1 b2'],
    ['a colour of 256', '\u001B[38;5;9mred', 'f9'],
    ['a colour of the cube', '\u001B[38;5;21mblue', 'f12'],
    ['a colour of millions', '\u001B[38;2;255;0;0mred', 'f9'],
    ['a colour with colons', '\u001B[38:5:2mgreen', 'f2'],
    ['inverse, which needs no colours', '\u001B[31;7mturned', 'inverse'],
    ['the C1 way to write it', '\u009B31mred', 'f1'],
  ])('has the style that it asks for: %s', (_, text, style) => {
    expect(read(text)[0]?.style).toBe(style);
  });

  it('goes back to plain', () => {
    const text = '\u001B[1;31ma\u001B[22mb\u001B[39mc\u001B[4md\u001B[me';
    expect(read(text).map(({ style }) => style)).toEqual(['bold f1', 'f1', '', 'underline', '']);
  });

  it.each([
    ['a title', 'a\u001B]0;owned\u0007b'],
    ['a link', 'a\u001B]8;;javascript:alert(1)\u001B\\b\u001B]8;;\u001B\\'],
    ['the clipboard', 'a\u001B]52;c;ZXZpbA==\u0007b'],
    ['a title without an end, as far as its line goes', 'a\u001B]0;owned', '\nb'],
    ['moving the cursor', 'a\u001B[2J\u001B[H\u001B[1;1Hb'],
    ['another character set', 'a\u001B(0b'],
    ['a device control string', 'a\u001BPq#0;2;0;0;0\u001B\\b'],
    ['backspaces and bells', 'a\b\b\u0007b'],
    ['a carriage return', 'a\rb'],
    ['a private mode', 'a\u001B[?1049hb'],
  ])('is not obeyed where it asks for more: %s', (_, ...texts) => {
    expect(textOf(read(...texts)).replace('\n', '')).toBe('ab');
  });

  it('shows what turns the direction of writing', () => {
    expect(textOf(read('user\u202Etxt.exe\u202C \u2066x\u2069'))).toBe(
      'user⟨U+202E⟩txt.exe⟨U+202C⟩ ⟨U+2066⟩x⟨U+2069⟩',
    );
  });

  it('shows what asks to be hidden', () => {
    expect(read('\u001B[8msecret')).toEqual([{ text: 'secret', style: '' }]);
  });

  it('is the same wherever it is cut', () => {
    const part = fc.constantFrom(
      'a',
      'é',
      '😀',
      '\n',
      '\u001B[31m',
      '\u001B[0m',
      '\u001B]0;t\u0007',
      '\u001B',
      '[',
      '1;',
      'm',
      '\u202E',
    );
    fc.assert(
      fc.property(fc.array(part), fc.nat(), (parts, at) => {
        const characters = Array.from(parts.join(''));
        const cut = at % (characters.length + 1);
        const whole = read(characters.join(''), 'end');
        const pieces = read(characters.slice(0, cut).join(''), characters.slice(cut).join(''), 'end');
        const styled = (all: readonly Piece[]): string =>
          all
            .flatMap(({ text, style }) => Array.from(text, (character) => `${character}<${style}>`))
            .join('');
        expect(styled(pieces)).toBe(styled(whole));
      }),
    );
  });

  it('never has a control character but newline and tab, whatever it is', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' })), (texts) => {
        expect(textOf(read(...texts))).not.toMatch(/[^\P{Cc}\t\n]|[\u202A-\u202E\u2066-\u2069]/u);
      }),
    );
  });
});
