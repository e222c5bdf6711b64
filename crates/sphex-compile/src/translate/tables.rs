//! Tables: bounds, elements, bulk operations.
//!
//! An element is eight bytes: a pointer to a function's reference (null is a reference too), or a host reference's 32 bits
//! zero-extended.

use super::context::Part;
use super::{Output, Translator};
use sphex_artifact::Trap;
use sphex_artifact::builtins::Builtin;
use sphex_artifact::types::RefType;
use sphex_artifact::vmctx;
use sphex_ir::{IntCC, MemFlags, Opcode, TrapCode, Value, types};

/// The IR's byte for a trap of ours.
pub(super) fn trap_code(trap: Trap) -> TrapCode {
    TrapCode::from_u8(trap.code()).unwrap_or(TrapCode::HEAP_OUT_OF_BOUNDS)
}

impl Translator<'_, '_, '_> {
    /// Loads a field of a table; `constant` if it never changes.
    fn table_field(&mut self, table: u32, field: u32, constant: bool) -> Value {
        let flags = match constant {
            true => self.constant_field(),
            false => self.trusted(Part::TableFields),
        };
        let imported = self.info.module.imported.tables;
        let (base, offset) = if table < imported {
            (self.vmctx_field(types::I64, self.info.layout.imported_table(table)), field)
        } else {
            (self.cx.vmctx, self.info.layout.table(table - imported) + field)
        };
        self.b.load(Opcode::Load, types::I64, flags, base, offset as i32)
    }

    fn has_fixed_size(&self, table: u32) -> Option<u64> {
        let ty = self.info.module.tables[table as usize].ty;
        (ty.maximum == Some(ty.minimum)).then_some(ty.minimum)
    }

    fn table_len(&mut self, table: u32) -> Value {
        match self.has_fixed_size(table) {
            Some(len) => self.b.iconst(types::I64, len as i64),
            None => self.table_field(table, vmctx::table::LEN, false),
        }
    }

    fn element_flags(&mut self, table: u32) -> MemFlags {
        self.trusted(match table.checked_sub(self.info.module.imported.tables) {
            Some(defined) => Part::Table(defined),
            None => Part::ImportedTables,
        })
    }

    /// Checks an index and gives the address of its element.
    pub(super) fn element_address(&mut self, table: u32, index: Value, trap: Trap) -> Value {
        let index = self.b.convert(Opcode::Uextend, types::I64, index);
        let len = self.table_len(table);
        let outside = self.b.icmp(IntCC::Uge, index, len);
        self.b.trapnz(outside, trap_code(trap));
        let constant = self.has_fixed_size(table).is_some();
        let base = self.table_field(table, vmctx::table::BASE, constant);
        let log2 = self.b.iconst(types::I64, i64::from(vmctx::TABLE_ELEMENT_BYTES.trailing_zeros()));
        let offset = self.b.binary(Opcode::Ishl, index, log2);
        let address = self.b.binary(Opcode::Iadd, base, offset);
        if !self.settings.spectre {
            return address;
        }
        self.b.ternary(Opcode::SelectSpectreGuard, outside, base, address)
    }

    /// Loads the pointer to a function's reference from a checked address.
    pub(super) fn load_func_ref(&mut self, table: u32, address: Value) -> Value {
        let flags = self.element_flags(table);
        self.b.load(Opcode::Load, types::I64, flags, address, 0)
    }

    fn element_type(&self, table: u32) -> RefType {
        self.info.module.tables[table as usize].ty.element
    }

    pub(super) fn table_get(&mut self, table: u32) -> Output {
        let index = self.pop();
        let address = self.element_address(table, index, Trap::TableOutOfBounds);
        let ty = match self.element_type(table) {
            RefType::Func => types::I64,
            RefType::Extern => types::I32,
        };
        let flags = self.element_flags(table);
        let value = self.b.load(Opcode::Load, ty, flags, address, 0);
        self.push(value);
        Ok(())
    }

    pub(super) fn table_set(&mut self, table: u32) -> Output {
        let mut value = self.pop();
        let index = self.pop();
        let address = self.element_address(table, index, Trap::TableOutOfBounds);
        if self.element_type(table) == RefType::Extern {
            value = self.b.convert(Opcode::Uextend, types::I64, value);
        }
        let flags = self.element_flags(table);
        self.b.store(Opcode::Store, flags, value, address, 0);
        Ok(())
    }

    pub(super) fn table_size(&mut self, table: u32) -> Output {
        let len = self.table_len(table);
        let len = self.b.convert(Opcode::Ireduce, types::I32, len);
        self.push(len);
        Ok(())
    }

    pub(super) fn table_grow(&mut self, table: u32) -> Output {
        let delta = self.pop_extended();
        let value = self.pop();
        let builtin = match self.element_type(table) {
            RefType::Func => Builtin::TableGrowFunc,
            RefType::Extern => Builtin::TableGrowExtern,
        };
        let table = self.b.iconst(types::I32, i64::from(table));
        self.push_builtin_i32(builtin, &[table, delta, value]);
        Ok(())
    }

    pub(super) fn table_fill(&mut self, table: u32) -> Output {
        let len = self.pop_extended();
        let value = self.pop();
        let index = self.pop_extended();
        let builtin = match self.element_type(table) {
            RefType::Func => Builtin::TableFillFunc,
            RefType::Extern => Builtin::TableFillExtern,
        };
        let table = self.b.iconst(types::I32, i64::from(table));
        self.builtin(builtin, &[table, index, value, len]);
        Ok(())
    }

    pub(super) fn table_copy(&mut self, to: u32, from: u32) -> Output {
        let (destination, source, len) = self.pop_ranges();
        let to = self.b.iconst(types::I32, i64::from(to));
        let from = self.b.iconst(types::I32, i64::from(from));
        self.builtin(Builtin::TableCopy, &[to, from, destination, source, len]);
        Ok(())
    }

    pub(super) fn table_init(&mut self, element: u32, table: u32) -> Output {
        let (destination, source, len) = self.pop_ranges();
        let table = self.b.iconst(types::I32, i64::from(table));
        let element = self.b.iconst(types::I32, i64::from(element));
        self.builtin(Builtin::TableInit, &[table, element, destination, source, len]);
        Ok(())
    }

    pub(super) fn elem_drop(&mut self, element: u32) -> Output {
        let element = self.b.iconst(types::I32, i64::from(element));
        self.builtin(Builtin::ElemDrop, &[element]);
        Ok(())
    }
}
