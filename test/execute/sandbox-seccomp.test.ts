import { describe, expect, it } from 'vitest';
import { systemCallFilter } from '../../src/execute/seccomp.ts';

const ALLOW = 0x7fff0000;
const ENOSYS = 0x00050000 + 38;
const EAFNOSUPPORT = 0x00050000 + 97;

/** Runs a filter as the kernel does. */
function verdict(program: Buffer, call: { architecture: number; number: number; first?: number }): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call.number >>> 0, 0);
  data.writeUInt32LE(call.architecture >>> 0, 4);
  // A whole register: what is above the lower half must not matter.
  data.writeUInt32LE((call.first ?? 0) >>> 0, 16);
  data.writeUInt32LE(0xdeadbeef, 20);
  let word = 0;
  for (let at = 0; ; at++) {
    const [code, isTrue, isFalse, value] = [
      program.readUInt16LE(at * 8),
      program.readUInt8(at * 8 + 2),
      program.readUInt8(at * 8 + 3),
      program.readUInt32LE(at * 8 + 4),
    ];
    if (code === 0x20) word = data.readUInt32LE(value);
    else if (code === 0x15) at += word === value ? isTrue : isFalse;
    else if (code === 0x35) at += word >= value ? isTrue : isFalse;
    else if (code === 0x06) return value;
    else throw new Error(`unknown instruction ${code}`);
  }
}

const machines = [
  { name: 'x64', is: 'x64', architecture: 0xc000003e, keys: [248, 249, 250], socket: 41, getpid: 39 },
  { name: 'i386', is: 'x64', architecture: 0x40000003, keys: [286, 287, 288], socket: 359, getpid: 20 },
  { name: 'arm64', is: 'arm64', architecture: 0xc00000b7, keys: [217, 218, 219], socket: 198, getpid: 172 },
  { name: 'arm', is: 'arm64', architecture: 0x40000028, keys: [309, 310, 311], socket: 281, getpid: 20 },
] as const;

describe.for(machines)('on $name', ({ is, architecture, keys, socket, getpid }) => {
  it('keeps keyrings and io_uring from every script, and lets the rest be', () => {
    for (const network of [true, false]) {
      const program = systemCallFilter(network, is)!;
      for (const number of [...keys, 425]) expect(verdict(program, { architecture, number })).toBe(ENOSYS);
      for (const number of [0, 1, getpid, 424, 426, 500])
        expect(verdict(program, { architecture, number })).toBe(ALLOW);
    }
  });

  it('lets sockets be that a network namespace confines, and without a network no others', () => {
    const of = (network: boolean, family: number): number =>
      verdict(systemCallFilter(network, is)!, { architecture, number: socket, first: family });
    for (const family of [1, 2, 10, 16]) expect(of(false, family)).toBe(ALLOW);
    for (const family of [0, 3, 9, 11, 17, 38, 40, 0xffffffff]) expect(of(false, family)).toBe(EAFNOSUPPORT);
    for (const family of [1, 2, 17, 38, 40]) expect(of(true, family)).toBe(ALLOW);
  });
});

it('lets nothing pass by another way of calling', () => {
  const program = systemCallFilter(false, 'x64')!;
  expect(verdict(program, { architecture: 0xc000003e, number: 41 | 0x40000000, first: 1 })).toBe(ENOSYS);
  expect(verdict(program, { architecture: 0x40000003, number: 102 })).toBe(ENOSYS);
  for (const architecture of [0, 0xc00000b7, 0xffffffff])
    expect(verdict(program, { architecture, number: 39 })).toBe(ENOSYS);
  expect(verdict(systemCallFilter(true, 'x64')!, { architecture: 0x40000003, number: 102 })).toBe(ALLOW);
});

it('is none for a processor that it does not know', () => {
  expect(systemCallFilter(false, 'riscv64')).toBeUndefined();
});
