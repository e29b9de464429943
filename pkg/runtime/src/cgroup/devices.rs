// SPDX-License-Identifier: Apache-2.0

//! Which devices a group may use on v2, where no file says it: a small program that the kernel asks at each
//! `open` and `mknod`. Rules become instructions here; `bpf` gives them to the kernel.

/// All of [`Rule::access`].
pub const READ_WRITE_MAKE: u32 = MAKE | READ | WRITE;
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// Something that is allowed; what no rule allows is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A block device, else a character device.
    pub block: bool,
    /// Major number, or all.
    pub major: Option<u32>,
    /// Minor number, or all.
    pub minor: Option<u32>,
    /// What may be done: [`access`] of `r`, `w` and `m`.
    pub access: u32,
}

/// What every container may do: make nodes, and use those that every container has, terminals, and tunnels, as on
/// v1.
pub fn of_every_container() -> Vec<Rule> {
    let make = |block| Rule { block, major: None, minor: None, access: MAKE };
    let has = |(major, minor)| Rule { block: false, major: Some(major), minor, access: READ_WRITE_MAKE };
    // null, zero, full, random, urandom; tty, console, ptmx; pts; tun
    let memory = [3, 5, 7, 8, 9].map(|minor| (1, Some(minor)));
    let terminals = [0, 1, 2].map(|minor| (5, Some(minor)));
    let others = [(136, None), (10, Some(200))];
    [make(true), make(false)]
        .into_iter()
        .chain([&memory[..], &terminals, &others].concat().into_iter().map(has))
        .collect()
}

/// The letters `r`, `w` and `m` as the kernel counts them.
pub fn access(letters: &str) -> u32 {
    let bit = |letter| match letter {
        'r' => READ,
        'w' => WRITE,
        'm' => MAKE,
        _ => 0,
    };
    letters.chars().map(bit).fold(0, |all, bit| all | bit)
}

// The kernel's numbering of kinds.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

// Registers: what it is given, then what it takes from there.
const CONTEXT: u8 = 1;
const WANTED: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const RESULT: u8 = 0;

// Operations of the kernel's instruction set.
const LOAD_WORD: u8 = 0x61;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// One instruction, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    operation: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    value: i32,
}

fn instruction(operation: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    Instruction { operation, registers: from << 4 | to, offset, value }
}

/// The program that allows what one of the rules allows.
pub fn program(rules: &[Rule]) -> Vec<Instruction> {
    // The first word holds the kind in its lower half and what is wanted in the upper one.
    let mut program = vec![
        instruction(LOAD_WORD, WANTED, CONTEXT, 0, 0),
        instruction(COPY, KIND, WANTED, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, WANTED, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    rules.iter().for_each(|rule| program.extend(allow(rule)));
    program.extend([instruction(SET, RESULT, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

/// Comparisons that jump behind the rule, and the end when none did.
fn allow(rule: &Rule) -> Vec<Instruction> {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let mut steps = vec![(KIND, if rule.block { BLOCK } else { CHARACTER })];
    steps.extend(rule.major.map(|major| (MAJOR, number(major))));
    steps.extend(rule.minor.map(|minor| (MINOR, number(minor))));
    // What is given to it is needed no more: its register takes what is wanted and not allowed.
    let beyond = number(!rule.access & READ_WRITE_MAKE);
    let access = [instruction(COPY, CONTEXT, WANTED, 0, 0), instruction(AND, CONTEXT, 0, 0, beyond)];
    steps.push((CONTEXT, 0));
    let last = steps.len() - 1;
    let mut block = Vec::new();
    for (at, (register, value)) in steps.into_iter().enumerate() {
        if at == last {
            block.extend(access);
        }
        block.push(instruction(JUMP_UNLESS_EQUAL, register, 0, 0, value));
    }
    block.extend([instruction(SET, RESULT, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)]);
    let end = block.len();
    for (at, step) in block.iter_mut().enumerate() {
        if step.operation == JUMP_UNLESS_EQUAL {
            step.offset = i16::try_from(end - at - 1).unwrap_or(i16::MAX);
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do.
    fn run(program: &[Instruction], context: [u32; 3]) -> u64 {
        let (mut registers, mut at) = ([0_u64; 6], 0_usize);
        loop {
            let step = program[at];
            let (to, from) = (usize::from(step.registers & 15), usize::from(step.registers >> 4));
            let value = u64::from(step.value.cast_unsigned());
            at += 1;
            match step.operation {
                LOAD_WORD => registers[to] = u64::from(context[usize::try_from(step.offset).unwrap() / 4]),
                COPY => registers[to] = registers[from],
                SET => registers[to] = value,
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                JUMP_UNLESS_EQUAL if registers[to] != value => at += usize::try_from(step.offset).unwrap(),
                JUMP_UNLESS_EQUAL => {}
                EXIT => return registers[0],
                other => panic!("{other:#x} is no instruction of ours"),
            }
        }
    }

    #[test]
    fn a_container_uses_its_own_devices_and_those_it_asked_for() {
        let mut rules = of_every_container();
        rules.push(Rule { block: true, major: Some(8), minor: Some(1), access: access("rm") });
        let program = program(&rules);
        for (kind, major, minor, wanted, allowed) in [
            (CHARACTER, 1, 3, "rw", true),
            (CHARACTER, 1, 1, "r", false),
            (CHARACTER, 1, 1, "m", true),
            (CHARACTER, 136, 17, "rw", true),
            (CHARACTER, 8, 1, "r", false),
            (BLOCK, 8, 1, "r", true),
            (BLOCK, 8, 1, "rw", false),
            (BLOCK, 8, 2, "r", false),
            (BLOCK, 254, 0, "r", false),
            (BLOCK, 254, 0, "m", true),
        ] {
            let first = kind.cast_unsigned() | access(wanted) << 16;
            let got = run(&program, [first, major, minor]) == 1;
            assert_eq!(got, allowed, "{wanted} of {kind} {major}:{minor}");
        }
    }
}
