//! An assembler for the few instructions that the programs need. The encoding: Documentation/bpf/standardization of the Linux tree.

/// Registers. 0 is what a call gives, 1 to 5 are its arguments and lost by it, 6 to 9 stay, 10 is the stack.
pub(super) type Reg = u8;
pub(super) const R0: Reg = 0;
pub(super) const R1: Reg = 1;
pub(super) const R2: Reg = 2;
pub(super) const R3: Reg = 3;
pub(super) const R4: Reg = 4;
pub(super) const R6: Reg = 6;
pub(super) const R7: Reg = 7;
pub(super) const R8: Reg = 8;
pub(super) const R9: Reg = 9;
pub(super) const STACK: Reg = 10;

/// Functions of the kernel, by their numbers in `enum bpf_func_id`.
pub(super) mod helper {
    pub(crate) const MAP_LOOKUP: i32 = 1;
    pub(crate) const CORE: i32 = 8;
    pub(crate) const READ_USER: i32 = 112;
    pub(crate) const READ_KERNEL: i32 = 113;
    pub(crate) const READ_KERNEL_STR: i32 = 115;
    pub(crate) const RING_OUTPUT: i32 = 130;
}

/// A place to jump to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// The width of a load or store.
#[derive(Clone, Copy)]
pub(super) enum Width {
    Word,
    Double,
}

impl Width {
    fn bits(self) -> u8 {
        match self {
            Self::Word => 0x00,
            Self::Double => 0x18,
        }
    }
}

/// A program in the making.
#[derive(Default)]
pub(super) struct Asm {
    code: Vec<[u8; 8]>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Asm {
    fn emit(&mut self, op: u8, dst: Reg, src: Reg, off: i16, imm: i32) -> &mut Self {
        let (o, i) = (off.to_ne_bytes(), imm.to_ne_bytes());
        let registers = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
        self.code.push([op, registers, o[0], o[1], i[0], i[1], i[2], i[3]]);
        self
    }

    pub(super) fn mov(&mut self, dst: Reg, src: Reg) -> &mut Self {
        self.emit(0xbf, dst, src, 0, 0)
    }

    pub(super) fn set(&mut self, dst: Reg, value: i32) -> &mut Self {
        self.emit(0xb7, dst, 0, 0, value)
    }

    /// A 32-bit value, the upper half zero.
    pub(super) fn load_u32(&mut self, dst: Reg, value: u32) -> &mut Self {
        self.emit(0xb4, dst, 0, 0, value.cast_signed())
    }

    pub(super) fn add(&mut self, dst: Reg, value: i32) -> &mut Self {
        self.emit(0x07, dst, 0, 0, value)
    }

    pub(super) fn add_reg(&mut self, dst: Reg, src: Reg) -> &mut Self {
        self.emit(0x0f, dst, src, 0, 0)
    }

    pub(super) fn sub_reg(&mut self, dst: Reg, src: Reg) -> &mut Self {
        self.emit(0x1f, dst, src, 0, 0)
    }

    pub(super) fn load(&mut self, width: Width, dst: Reg, base: Reg, off: i16) -> &mut Self {
        self.emit(0x61 | width.bits(), dst, base, off, 0)
    }

    pub(super) fn store(&mut self, width: Width, base: Reg, off: i16, src: Reg) -> &mut Self {
        self.emit(0x63 | width.bits(), base, src, off, 0)
    }

    pub(super) fn store_value(&mut self, width: Width, base: Reg, off: i16, value: i32) -> &mut Self {
        self.emit(0x62 | width.bits(), base, 0, off, value)
    }

    /// The address of a map, by its descriptor.
    pub(super) fn map(&mut self, dst: Reg, fd: i32) -> &mut Self {
        self.emit(0x18, dst, 1, 0, fd).emit(0, 0, 0, 0, 0)
    }

    pub(super) fn call(&mut self, function: i32) -> &mut Self {
        self.emit(0x85, 0, 0, 0, function)
    }

    pub(super) fn exit(&mut self) -> &mut Self {
        self.emit(0x95, 0, 0, 0, 0)
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub(super) fn here(&mut self, label: Label) -> &mut Self {
        self.labels[label.0] = Some(self.code.len());
        self
    }

    fn jump_op(&mut self, op: u8, dst: Reg, src: Reg, value: i32, to: Label) -> &mut Self {
        self.jumps.push((self.code.len(), to));
        self.emit(op, dst, src, 0, value)
    }

    pub(super) fn jump(&mut self, to: Label) -> &mut Self {
        self.jump_op(0x05, 0, 0, 0, to)
    }

    pub(super) fn if_equal(&mut self, reg: Reg, value: i32, to: Label) -> &mut Self {
        self.jump_op(0x15, reg, 0, value, to)
    }

    pub(super) fn if_not_reg(&mut self, reg: Reg, other: Reg, to: Label) -> &mut Self {
        self.jump_op(0x5d, reg, other, 0, to)
    }

    pub(super) fn if_equal_reg(&mut self, reg: Reg, other: Reg, to: Label) -> &mut Self {
        self.jump_op(0x1d, reg, other, 0, to)
    }

    /// Unsigned.
    pub(super) fn if_less(&mut self, reg: Reg, value: i32, to: Label) -> &mut Self {
        self.jump_op(0xa5, reg, 0, value, to)
    }

    /// Unsigned.
    pub(super) fn if_at_most(&mut self, reg: Reg, value: i32, to: Label) -> &mut Self {
        self.jump_op(0xb5, reg, 0, value, to)
    }

    /// The instructions, with the jumps filled in. A label that is nowhere is a jump to the end: the kernel refuses it.
    pub(super) fn finish(mut self) -> Vec<[u8; 8]> {
        for (at, label) in &self.jumps {
            let target = self.labels[label.0].unwrap_or(self.code.len());
            let distance = i16::try_from(target as i64 - *at as i64 - 1).unwrap_or(i16::MAX);
            self.code[*at][2..4].copy_from_slice(&distance.to_ne_bytes());
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_are_encoded_as_the_kernel_documents_them() {
        let mut asm = Asm::default();
        let end = asm.label();
        asm.set(R0, 7).if_equal(R0, 7, end).mov(R6, R1).load(Width::Double, R3, R6, 16).here(end).exit();
        let want: [[u8; 8]; 5] = [
            [0xb7, 0, 0, 0, 7, 0, 0, 0],
            [0x15, 0, 2, 0, 7, 0, 0, 0],
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x79, 0x63, 16, 0, 0, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(asm.finish(), want);
    }
}
