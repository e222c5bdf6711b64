//! One row per operator: validate it, then translate it if it is reachable.
//!
//! `wasmparser` hands over the list of all operators; `translate!` has a row for each that is compiled. What has no row is
//! validated and then refused by the name of its proposal. An arm is one call into a family's file.

use super::atomics::atomics;
use super::{OpError, Output, Translator};
use sphex_artifact::Trap;
use sphex_artifact::builtins::Builtin;
use sphex_ir::{AtomicRmwOp, FloatCC, IntCC, Opcode, types};
use wasmparser::{VisitOperator, VisitSimdOperator};

/// What happens at an operator that is reachable.
macro_rules! translate {
    ($t:ident visit_drop) => { $t.drop_() };
    ($t:ident visit_select) => { $t.select() };
    ($t:ident visit_typed_select $ty:ident) => { $t.typed_select($ty) };
    ($t:ident visit_local_get $i:ident) => { $t.local_get($i) };
    ($t:ident visit_local_set $i:ident) => { $t.local_set($i) };
    ($t:ident visit_local_tee $i:ident) => { $t.local_tee($i) };
    ($t:ident visit_global_get $i:ident) => { $t.global_get($i) };
    ($t:ident visit_global_set $i:ident) => { $t.global_set($i) };
    ($t:ident visit_i32_load $m:ident) => { $t.load(Opcode::Load, types::I32, 4, &$m) };
    ($t:ident visit_i32_store $m:ident) => { $t.store(Opcode::Store, 4, &$m) };
    ($t:ident visit_i64_load $m:ident) => { $t.load(Opcode::Load, types::I64, 8, &$m) };
    ($t:ident visit_i64_store $m:ident) => { $t.store(Opcode::Store, 8, &$m) };
    ($t:ident visit_f32_load $m:ident) => { $t.load(Opcode::Load, types::F32, 4, &$m) };
    ($t:ident visit_f32_store $m:ident) => { $t.store(Opcode::Store, 4, &$m) };
    ($t:ident visit_f64_load $m:ident) => { $t.load(Opcode::Load, types::F64, 8, &$m) };
    ($t:ident visit_f64_store $m:ident) => { $t.store(Opcode::Store, 8, &$m) };
    ($t:ident visit_i32_load8_s $m:ident) => { $t.load(Opcode::Sload8, types::I32, 1, &$m) };
    ($t:ident visit_i32_load8_u $m:ident) => { $t.load(Opcode::Uload8, types::I32, 1, &$m) };
    ($t:ident visit_i32_store8 $m:ident) => { $t.store(Opcode::Istore8, 1, &$m) };
    ($t:ident visit_i32_load16_s $m:ident) => { $t.load(Opcode::Sload16, types::I32, 2, &$m) };
    ($t:ident visit_i32_load16_u $m:ident) => { $t.load(Opcode::Uload16, types::I32, 2, &$m) };
    ($t:ident visit_i32_store16 $m:ident) => { $t.store(Opcode::Istore16, 2, &$m) };
    ($t:ident visit_i64_load8_s $m:ident) => { $t.load(Opcode::Sload8, types::I64, 1, &$m) };
    ($t:ident visit_i64_load8_u $m:ident) => { $t.load(Opcode::Uload8, types::I64, 1, &$m) };
    ($t:ident visit_i64_store8 $m:ident) => { $t.store(Opcode::Istore8, 1, &$m) };
    ($t:ident visit_i64_load16_s $m:ident) => { $t.load(Opcode::Sload16, types::I64, 2, &$m) };
    ($t:ident visit_i64_load16_u $m:ident) => { $t.load(Opcode::Uload16, types::I64, 2, &$m) };
    ($t:ident visit_i64_store16 $m:ident) => { $t.store(Opcode::Istore16, 2, &$m) };
    ($t:ident visit_i64_load32_s $m:ident) => { $t.load(Opcode::Sload32, types::I64, 4, &$m) };
    ($t:ident visit_i64_load32_u $m:ident) => { $t.load(Opcode::Uload32, types::I64, 4, &$m) };
    ($t:ident visit_i64_store32 $m:ident) => { $t.store(Opcode::Istore32, 4, &$m) };
    ($t:ident visit_memory_size $m:ident) => { $t.memory_size($m) };
    ($t:ident visit_memory_grow $m:ident) => { $t.memory_grow($m) };
    ($t:ident visit_i32_const $v:ident) => { $t.i32_const($v) };
    ($t:ident visit_i64_const $v:ident) => { $t.i64_const($v) };
    ($t:ident visit_f32_const $v:ident) => { $t.f32_const($v.bits()) };
    ($t:ident visit_f64_const $v:ident) => { $t.f64_const($v.bits()) };
    ($t:ident visit_i32_eqz) => { $t.eqz() };
    ($t:ident visit_i32_eq) => { $t.icmp(IntCC::Eq) };
    ($t:ident visit_i32_ne) => { $t.icmp(IntCC::Ne) };
    ($t:ident visit_i32_lt_s) => { $t.icmp(IntCC::Slt) };
    ($t:ident visit_i32_lt_u) => { $t.icmp(IntCC::Ult) };
    ($t:ident visit_i32_gt_s) => { $t.icmp(IntCC::Sgt) };
    ($t:ident visit_i32_gt_u) => { $t.icmp(IntCC::Ugt) };
    ($t:ident visit_i32_le_s) => { $t.icmp(IntCC::Sle) };
    ($t:ident visit_i32_le_u) => { $t.icmp(IntCC::Ule) };
    ($t:ident visit_i32_ge_s) => { $t.icmp(IntCC::Sge) };
    ($t:ident visit_i32_ge_u) => { $t.icmp(IntCC::Uge) };
    ($t:ident visit_i64_eqz) => { $t.eqz() };
    ($t:ident visit_i64_eq) => { $t.icmp(IntCC::Eq) };
    ($t:ident visit_i64_ne) => { $t.icmp(IntCC::Ne) };
    ($t:ident visit_i64_lt_s) => { $t.icmp(IntCC::Slt) };
    ($t:ident visit_i64_lt_u) => { $t.icmp(IntCC::Ult) };
    ($t:ident visit_i64_gt_s) => { $t.icmp(IntCC::Sgt) };
    ($t:ident visit_i64_gt_u) => { $t.icmp(IntCC::Ugt) };
    ($t:ident visit_i64_le_s) => { $t.icmp(IntCC::Sle) };
    ($t:ident visit_i64_le_u) => { $t.icmp(IntCC::Ule) };
    ($t:ident visit_i64_ge_s) => { $t.icmp(IntCC::Sge) };
    ($t:ident visit_i64_ge_u) => { $t.icmp(IntCC::Uge) };
    ($t:ident visit_f32_eq) => { $t.fcmp(FloatCC::Equal) };
    ($t:ident visit_f32_ne) => { $t.fcmp(FloatCC::NotEqual) };
    ($t:ident visit_f32_lt) => { $t.fcmp(FloatCC::LessThan) };
    ($t:ident visit_f32_gt) => { $t.fcmp(FloatCC::GreaterThan) };
    ($t:ident visit_f32_le) => { $t.fcmp(FloatCC::LessThanOrEqual) };
    ($t:ident visit_f32_ge) => { $t.fcmp(FloatCC::GreaterThanOrEqual) };
    ($t:ident visit_f64_eq) => { $t.fcmp(FloatCC::Equal) };
    ($t:ident visit_f64_ne) => { $t.fcmp(FloatCC::NotEqual) };
    ($t:ident visit_f64_lt) => { $t.fcmp(FloatCC::LessThan) };
    ($t:ident visit_f64_gt) => { $t.fcmp(FloatCC::GreaterThan) };
    ($t:ident visit_f64_le) => { $t.fcmp(FloatCC::LessThanOrEqual) };
    ($t:ident visit_f64_ge) => { $t.fcmp(FloatCC::GreaterThanOrEqual) };
    ($t:ident visit_i32_clz) => { $t.unary(Opcode::Clz) };
    ($t:ident visit_i32_ctz) => { $t.unary(Opcode::Ctz) };
    ($t:ident visit_i32_popcnt) => { $t.unary(Opcode::Popcnt) };
    ($t:ident visit_i32_add) => { $t.binary(Opcode::Iadd) };
    ($t:ident visit_i32_sub) => { $t.binary(Opcode::Isub) };
    ($t:ident visit_i32_mul) => { $t.binary(Opcode::Imul) };
    ($t:ident visit_i32_div_s) => { $t.binary(Opcode::Sdiv) };
    ($t:ident visit_i32_div_u) => { $t.binary(Opcode::Udiv) };
    ($t:ident visit_i32_rem_s) => { $t.binary(Opcode::Srem) };
    ($t:ident visit_i32_rem_u) => { $t.binary(Opcode::Urem) };
    ($t:ident visit_i32_and) => { $t.binary(Opcode::Band) };
    ($t:ident visit_i32_or) => { $t.binary(Opcode::Bor) };
    ($t:ident visit_i32_xor) => { $t.binary(Opcode::Bxor) };
    ($t:ident visit_i32_shl) => { $t.binary(Opcode::Ishl) };
    ($t:ident visit_i32_shr_s) => { $t.binary(Opcode::Sshr) };
    ($t:ident visit_i32_shr_u) => { $t.binary(Opcode::Ushr) };
    ($t:ident visit_i32_rotl) => { $t.binary(Opcode::Rotl) };
    ($t:ident visit_i32_rotr) => { $t.binary(Opcode::Rotr) };
    ($t:ident visit_i64_clz) => { $t.unary(Opcode::Clz) };
    ($t:ident visit_i64_ctz) => { $t.unary(Opcode::Ctz) };
    ($t:ident visit_i64_popcnt) => { $t.unary(Opcode::Popcnt) };
    ($t:ident visit_i64_add) => { $t.binary(Opcode::Iadd) };
    ($t:ident visit_i64_sub) => { $t.binary(Opcode::Isub) };
    ($t:ident visit_i64_mul) => { $t.binary(Opcode::Imul) };
    ($t:ident visit_i64_div_s) => { $t.binary(Opcode::Sdiv) };
    ($t:ident visit_i64_div_u) => { $t.binary(Opcode::Udiv) };
    ($t:ident visit_i64_rem_s) => { $t.binary(Opcode::Srem) };
    ($t:ident visit_i64_rem_u) => { $t.binary(Opcode::Urem) };
    ($t:ident visit_i64_and) => { $t.binary(Opcode::Band) };
    ($t:ident visit_i64_or) => { $t.binary(Opcode::Bor) };
    ($t:ident visit_i64_xor) => { $t.binary(Opcode::Bxor) };
    ($t:ident visit_i64_shl) => { $t.binary(Opcode::Ishl) };
    ($t:ident visit_i64_shr_s) => { $t.binary(Opcode::Sshr) };
    ($t:ident visit_i64_shr_u) => { $t.binary(Opcode::Ushr) };
    ($t:ident visit_i64_rotl) => { $t.binary(Opcode::Rotl) };
    ($t:ident visit_i64_rotr) => { $t.binary(Opcode::Rotr) };
    ($t:ident visit_f32_abs) => { $t.unary(Opcode::Fabs) };
    ($t:ident visit_f32_neg) => { $t.unary(Opcode::Fneg) };
    ($t:ident visit_f32_ceil) => { $t.unary(Opcode::Ceil) };
    ($t:ident visit_f32_floor) => { $t.unary(Opcode::Floor) };
    ($t:ident visit_f32_trunc) => { $t.unary(Opcode::Trunc) };
    ($t:ident visit_f32_nearest) => { $t.unary(Opcode::Nearest) };
    ($t:ident visit_f32_sqrt) => { $t.unary(Opcode::Sqrt) };
    ($t:ident visit_f32_add) => { $t.binary(Opcode::Fadd) };
    ($t:ident visit_f32_sub) => { $t.binary(Opcode::Fsub) };
    ($t:ident visit_f32_mul) => { $t.binary(Opcode::Fmul) };
    ($t:ident visit_f32_div) => { $t.binary(Opcode::Fdiv) };
    ($t:ident visit_f32_min) => { $t.binary(Opcode::Fmin) };
    ($t:ident visit_f32_max) => { $t.binary(Opcode::Fmax) };
    ($t:ident visit_f32_copysign) => { $t.binary(Opcode::Fcopysign) };
    ($t:ident visit_f64_abs) => { $t.unary(Opcode::Fabs) };
    ($t:ident visit_f64_neg) => { $t.unary(Opcode::Fneg) };
    ($t:ident visit_f64_ceil) => { $t.unary(Opcode::Ceil) };
    ($t:ident visit_f64_floor) => { $t.unary(Opcode::Floor) };
    ($t:ident visit_f64_trunc) => { $t.unary(Opcode::Trunc) };
    ($t:ident visit_f64_nearest) => { $t.unary(Opcode::Nearest) };
    ($t:ident visit_f64_sqrt) => { $t.unary(Opcode::Sqrt) };
    ($t:ident visit_f64_add) => { $t.binary(Opcode::Fadd) };
    ($t:ident visit_f64_sub) => { $t.binary(Opcode::Fsub) };
    ($t:ident visit_f64_mul) => { $t.binary(Opcode::Fmul) };
    ($t:ident visit_f64_div) => { $t.binary(Opcode::Fdiv) };
    ($t:ident visit_f64_min) => { $t.binary(Opcode::Fmin) };
    ($t:ident visit_f64_max) => { $t.binary(Opcode::Fmax) };
    ($t:ident visit_f64_copysign) => { $t.binary(Opcode::Fcopysign) };
    ($t:ident visit_i32_wrap_i64) => { $t.convert(Opcode::Ireduce, types::I32) };
    ($t:ident visit_i64_extend_i32_s) => { $t.convert(Opcode::Sextend, types::I64) };
    ($t:ident visit_i64_extend_i32_u) => { $t.convert(Opcode::Uextend, types::I64) };
    ($t:ident visit_i32_trunc_f32_s) => { $t.convert(Opcode::FcvtToSint, types::I32) };
    ($t:ident visit_i32_trunc_sat_f32_s) => { $t.convert(Opcode::FcvtToSintSat, types::I32) };
    ($t:ident visit_f32_convert_i32_s) => { $t.convert(Opcode::FcvtFromSint, types::F32) };
    ($t:ident visit_i32_trunc_f32_u) => { $t.convert(Opcode::FcvtToUint, types::I32) };
    ($t:ident visit_i32_trunc_sat_f32_u) => { $t.convert(Opcode::FcvtToUintSat, types::I32) };
    ($t:ident visit_f32_convert_i32_u) => { $t.convert(Opcode::FcvtFromUint, types::F32) };
    ($t:ident visit_i32_trunc_f64_s) => { $t.convert(Opcode::FcvtToSint, types::I32) };
    ($t:ident visit_i32_trunc_sat_f64_s) => { $t.convert(Opcode::FcvtToSintSat, types::I32) };
    ($t:ident visit_f64_convert_i32_s) => { $t.convert(Opcode::FcvtFromSint, types::F64) };
    ($t:ident visit_i32_trunc_f64_u) => { $t.convert(Opcode::FcvtToUint, types::I32) };
    ($t:ident visit_i32_trunc_sat_f64_u) => { $t.convert(Opcode::FcvtToUintSat, types::I32) };
    ($t:ident visit_f64_convert_i32_u) => { $t.convert(Opcode::FcvtFromUint, types::F64) };
    ($t:ident visit_i64_trunc_f32_s) => { $t.convert(Opcode::FcvtToSint, types::I64) };
    ($t:ident visit_i64_trunc_sat_f32_s) => { $t.convert(Opcode::FcvtToSintSat, types::I64) };
    ($t:ident visit_f32_convert_i64_s) => { $t.convert(Opcode::FcvtFromSint, types::F32) };
    ($t:ident visit_i64_trunc_f32_u) => { $t.convert(Opcode::FcvtToUint, types::I64) };
    ($t:ident visit_i64_trunc_sat_f32_u) => { $t.convert(Opcode::FcvtToUintSat, types::I64) };
    ($t:ident visit_f32_convert_i64_u) => { $t.convert(Opcode::FcvtFromUint, types::F32) };
    ($t:ident visit_i64_trunc_f64_s) => { $t.convert(Opcode::FcvtToSint, types::I64) };
    ($t:ident visit_i64_trunc_sat_f64_s) => { $t.convert(Opcode::FcvtToSintSat, types::I64) };
    ($t:ident visit_f64_convert_i64_s) => { $t.convert(Opcode::FcvtFromSint, types::F64) };
    ($t:ident visit_i64_trunc_f64_u) => { $t.convert(Opcode::FcvtToUint, types::I64) };
    ($t:ident visit_i64_trunc_sat_f64_u) => { $t.convert(Opcode::FcvtToUintSat, types::I64) };
    ($t:ident visit_f64_convert_i64_u) => { $t.convert(Opcode::FcvtFromUint, types::F64) };
    ($t:ident visit_f32_demote_f64) => { $t.convert(Opcode::Fdemote, types::F32) };
    ($t:ident visit_f64_promote_f32) => { $t.convert(Opcode::Fpromote, types::F64) };
    ($t:ident visit_i32_reinterpret_f32) => { $t.bitcast(types::I32) };
    ($t:ident visit_i64_reinterpret_f64) => { $t.bitcast(types::I64) };
    ($t:ident visit_f32_reinterpret_i32) => { $t.bitcast(types::F32) };
    ($t:ident visit_f64_reinterpret_i64) => { $t.bitcast(types::F64) };
    ($t:ident visit_i32_extend8_s) => { $t.extend(types::I8, types::I32) };
    ($t:ident visit_i32_extend16_s) => { $t.extend(types::I16, types::I32) };
    ($t:ident visit_i64_extend8_s) => { $t.extend(types::I8, types::I64) };
    ($t:ident visit_i64_extend16_s) => { $t.extend(types::I16, types::I64) };
    ($t:ident visit_i64_extend32_s) => { $t.extend(types::I32, types::I64) };
    ($t:ident visit_memory_init $d:ident $m:ident) => { $t.memory_init($d, $m) };
    ($t:ident visit_data_drop $d:ident) => { $t.data_drop($d) };
    ($t:ident visit_memory_copy $a:ident $b:ident) => { $t.memory_copy($a, $b) };
    ($t:ident visit_memory_fill $m:ident) => { $t.memory_fill($m) };
    ($t:ident visit_table_init $e:ident $table:ident) => { $t.table_init($e, $table) };
    ($t:ident visit_elem_drop $e:ident) => { $t.elem_drop($e) };
    ($t:ident visit_table_copy $a:ident $b:ident) => { $t.table_copy($a, $b) };
    ($t:ident visit_table_fill $i:ident) => { $t.table_fill($i) };
    ($t:ident visit_table_get $i:ident) => { $t.table_get($i) };
    ($t:ident visit_table_set $i:ident) => { $t.table_set($i) };
    ($t:ident visit_table_grow $i:ident) => { $t.table_grow($i) };
    ($t:ident visit_table_size $i:ident) => { $t.table_size($i) };
    ($t:ident visit_ref_null $ty:ident) => { $t.ref_null($ty) };
    ($t:ident visit_ref_is_null) => { $t.ref_is_null() };
    ($t:ident visit_ref_func $f:ident) => { $t.ref_func($f) };
    ($t:ident visit_call $f:ident) => { $t.call($f) };
    ($t:ident visit_call_indirect $ty:ident $table:ident) => { $t.call_indirect($ty, $table) };
    ($t:ident visit_return_call $f:ident) => { $t.return_call($f) };
    ($t:ident visit_return_call_indirect $ty:ident $table:ident) => { $t.return_call_indirect($ty, $table) };
    ($t:ident visit_br $d:ident) => { $t.br($d) };
    ($t:ident visit_br_if $d:ident) => { $t.br_if($d) };
    ($t:ident visit_br_table $d:ident) => { $t.br_table(&$d) };
    ($t:ident visit_return) => { $t.return_op() };
    ($t:ident visit_unreachable) => { $t.unreachable() };
    ($t:ident visit_nop) => { $t.nop() };
    ($t:ident $other:ident $($arg:ident)*) => {{ $(let _ = &$arg;)* Ok(()) }};
}

/// What happens at an operator, reachable or not, after it was validated.
macro_rules! operator {
    ($t:ident @mvp visit_block $ty:ident) => { $t.block($ty) };
    ($t:ident @mvp visit_loop $ty:ident) => { $t.loop_($ty) };
    ($t:ident @mvp visit_if $ty:ident) => { $t.if_($ty) };
    ($t:ident @mvp visit_else) => { $t.else_() };
    ($t:ident @mvp visit_end) => { $t.end() };
    ($t:ident @mvp $($rest:ident)*) => { if $t.reachable { translate!($t $($rest)*) } else { Ok(()) } };
    ($t:ident @sign_extension $($rest:ident)*) => { operator!($t @mvp $($rest)*) };
    ($t:ident @saturating_float_to_int $($rest:ident)*) => { operator!($t @mvp $($rest)*) };
    ($t:ident @bulk_memory $($rest:ident)*) => { operator!($t @mvp $($rest)*) };
    ($t:ident @reference_types $($rest:ident)*) => { operator!($t @mvp $($rest)*) };
    ($t:ident @tail_call $($rest:ident)*) => { operator!($t @mvp $($rest)*) };
    ($t:ident @gc $($rest:ident)*) => { Err(OpError::Unsupported("garbage collection")) };
    ($t:ident @function_references $($rest:ident)*) => { Err(OpError::Unsupported("typed function references")) };
    ($t:ident @exceptions $($rest:ident)*) => { Err(OpError::Unsupported("exception handling")) };
    ($t:ident @legacy_exceptions $($rest:ident)*) => { Err(OpError::Unsupported("legacy exception handling")) };
    ($t:ident @threads $($rest:ident)*) => { if $t.reachable { atomics!($t $($rest)*) } else { Ok(()) } };
    ($t:ident @shared_everything_threads $($rest:ident)*) => { Err(OpError::Unsupported("shared-everything threads")) };
    ($t:ident @simd $($rest:ident)*) => { Err(OpError::Unsupported("SIMD")) };
    ($t:ident @relaxed_simd $($rest:ident)*) => { Err(OpError::Unsupported("relaxed SIMD")) };
    ($t:ident @wide_arithmetic $($rest:ident)*) => { Err(OpError::Unsupported("wide arithmetic")) };
    ($t:ident @stack_switching $($rest:ident)*) => { Err(OpError::Unsupported("stack switching")) };
    ($t:ident @custom_descriptors $($rest:ident)*) => { Err(OpError::Unsupported("custom descriptors")) };
    ($t:ident @memory_control $($rest:ident)*) => { Err(OpError::Unsupported("memory control")) };
    ($t:ident @$other:ident $($rest:ident)*) => { Err(OpError::Unsupported(stringify!($other))) };
}

macro_rules! visit {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(#[allow(unused_variables, clippy::clone_on_copy, reason = "one row for all operators")]
        fn $visit(&mut self $($(, $arg: $argty)*)?) -> Output {
            self.validator.visitor(self.offset).$visit($($($arg.clone()),*)?)?;
            operator!(self @$proposal $visit $($($arg)*)?)
        })*
    };
}

macro_rules! visit_simd {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(#[allow(unused_variables, clippy::clone_on_copy, reason = "one row for all operators")]
        fn $visit(&mut self $($(, $arg: $argty)*)?) -> Output {
            self.validator.simd_visitor(self.offset).$visit($($($arg.clone()),*)?)?;
            operator!(self @$proposal $visit $($($arg)*)?)
        })*
    };
}

impl<'a> VisitOperator<'a> for Translator<'_, 'a, '_> {
    type Output = Output;

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Output>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(visit);
}

impl<'a> VisitSimdOperator<'a> for Translator<'_, 'a, '_> {
    wasmparser::for_each_visit_simd_operator!(visit_simd);
}

impl Translator<'_, '_, '_> {
    fn unreachable(&mut self) -> Output {
        self.b.trap(super::tables::trap_code(Trap::Unreachable));
        self.stop();
        Ok(())
    }

    fn nop(&self) -> Output {
        debug_assert!(self.reachable);
        Ok(())
    }

    fn typed_select(&mut self, ty: wasmparser::ValType) -> Output {
        self.val_type(ty)?;
        self.select()
    }
}
