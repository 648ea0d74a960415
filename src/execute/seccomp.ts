/**
 * What no namespace separates, as a filter of system calls in the form that bwrap's `--seccomp` wants: a program
 * of classic BPF. undefined where this processor is not known; the other walls stand without it.
 *
 * - The kernel's keyrings: a script would hold the keys of the session that started us.
 * - io_uring: it makes sockets past this very filter.
 * - Without a network: sockets of families that have no network namespace, such as vsock, which reaches the
 *   host of a virtual machine.
 *
 * @see https://docs.kernel.org/userspace-api/seccomp_filter.html
 */
export function systemCallFilter(network: boolean, architecture: string = process.arch): Buffer | undefined {
  const tables = TABLES[architecture];
  if (!tables) return undefined;
  const program = [
    load(ARCHITECTURE),
    ...tables.flatMap((table) => forArchitecture(table, network)),
    // A way of calling that has no table would go round the filter.
    returns(refusing(ENOSYS)),
  ];
  return Buffer.concat(program);
}

interface CallTable {
  /** The kernel's AUDIT_ARCH_*. */
  readonly architecture: number;
  /** Numbers of the calls that are refused in any case. */
  readonly refused: readonly number[];
  readonly socket: number;
  /** The old call whose arguments lie in memory, where a filter cannot look. */
  readonly socketcall?: number;
  /** From here on numbers are those of another way of calling (x32). */
  readonly end?: number;
}

const IO_URING_SETUP = 425;

/** add_key, request_key, keyctl, io_uring_setup; a processor often understands its 32-bit ancestor, too. */
const TABLES: Readonly<Record<string, readonly CallTable[]>> = {
  x64: [
    { architecture: 0xc000003e, refused: [248, 249, 250, IO_URING_SETUP], socket: 41, end: 0x40000000 },
    { architecture: 0x40000003, refused: [286, 287, 288, IO_URING_SETUP], socket: 359, socketcall: 102 },
  ],
  arm64: [
    { architecture: 0xc00000b7, refused: [217, 218, 219, IO_URING_SETUP], socket: 198 },
    { architecture: 0x40000028, refused: [309, 310, 311, IO_URING_SETUP], socket: 281 },
  ],
};

/** AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK end where the network namespace does. */
const CONFINED_FAMILIES = [1, 2, 10, 16];

const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** Offsets into the kernel's `struct seccomp_data`; of an argument the lower half is enough here. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const FIRST_ARGUMENT = 16;

function forArchitecture(
  { architecture, refused, socket, socketcall, end }: CallTable,
  network: boolean,
): Buffer[] {
  const outside = network || socketcall === undefined ? refused : [...refused, socketcall];
  const body = [
    load(NUMBER),
    ...(end === undefined ? [] : [unlessAtLeast(end, 1), returns(refusing(ENOSYS))]),
    ...outside.flatMap((number) => [unlessEqual(number, 1), returns(refusing(ENOSYS))]),
    ...(network ? [] : onlyConfinedFamilies(socket)),
    returns(ALLOW),
  ];
  return [unlessEqual(architecture, body.length), ...body];
}

function onlyConfinedFamilies(socket: number): Buffer[] {
  const families = CONFINED_FAMILIES.flatMap((family) => [unlessEqual(family, 1), returns(ALLOW)]);
  const check = [load(FIRST_ARGUMENT), ...families, returns(refusing(EAFNOSUPPORT))];
  return [unlessEqual(socket, check.length), ...check];
}

const ALLOW = 0x7fff0000;

function refusing(code: number): number {
  return 0x00050000 | code;
}

function load(offset: number): Buffer {
  return instruction(0x20, 0, 0, offset);
}

/** Goes on with the next instruction where the loaded word is this one, else skips some. */
function unlessEqual(value: number, skip: number): Buffer {
  return instruction(0x15, 0, skip, value);
}

function unlessAtLeast(value: number, skip: number): Buffer {
  return instruction(0x35, 0, skip, value);
}

function returns(action: number): Buffer {
  return instruction(0x06, 0, 0, action);
}

/** The kernel's `struct sock_filter`; both processors of the table keep the low byte first. */
function instruction(code: number, ifTrue: number, ifFalse: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(value, 4);
  return bytes;
}
