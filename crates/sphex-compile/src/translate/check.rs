//! Is a body valid, and of nothing but what is translated? One pass that makes nothing, for functions that are compiled
//! when they are called first: whether a module is refused must not wait for that. It is the prescan's pass too.
//!
//! It only says yes or no. After a no, the translator is asked, which finds the error (or none: a proposal without a row
//! here that is translated all the same costs time, no more).

use super::merge_budget;
use super::prescan::{Prescan, Scan};
use crate::module::{self, Body};
use wasmparser::{
    BlockType, FrameKind, FrameStack, FuncToValidate, FuncValidator, FuncValidatorAllocations, HeapType,
    ValType, ValidatorResources, VisitOperator, VisitSimdOperator, WasmFeatures,
};

/// Memory kept from body to body.
#[derive(Default)]
pub(crate) struct Scratch(FuncValidatorAllocations);

/// Is it so? And what the prescan says.
pub(crate) fn look(body: &Body<'_>, features: WasmFeatures, scratch: &mut Scratch) -> (bool, Prescan) {
    let validate = FuncToValidate {
        resources: body.validate.resources.clone(),
        index: body.validate.index,
        ty: body.validate.ty,
        features: body.validate.features,
    };
    let validator = validate.into_validator(std::mem::take(&mut scratch.0));
    let budget = merge_budget(body.bytes.as_bytes().len());
    let mut check = Check { validator, scan: Scan::new(budget), offset: 0, known: true };
    let valid = check.run(body, features).is_ok();
    scratch.0 = check.validator.into_allocations();
    (valid && check.known, check.scan.found)
}

/// Is it a type whose values are translated?
pub(crate) fn is_known(ty: ValType) -> bool {
    module::val_type(ty, 0).is_ok_and(|ty| super::ir_type(ty).is_ok())
}

struct Check {
    validator: FuncValidator<ValidatorResources>,
    scan: Scan,
    offset: u64,
    known: bool,
}

impl FrameStack for Check {
    fn current_frame(&self) -> Option<FrameKind> {
        self.validator.get_control_frame(0).map(|frame| frame.kind)
    }
}

impl Check {
    fn run(&mut self, body: &Body<'_>, features: WasmFeatures) -> wasmparser::Result<()> {
        for local in body.bytes.get_locals_reader()? {
            self.known &= is_known(local?.1);
        }
        let mut reader = body.bytes.get_binary_reader();
        reader.set_features(features);
        self.validator.read_locals(&mut reader)?;
        while !reader.eof() {
            self.offset = reader.original_position();
            self.scan.begin();
            reader.visit_operator(self)??;
            self.scan.count();
        }
        self.offset = reader.original_position();
        reader.finish_expression(&self.validator.visitor(self.offset))
    }

    /// Types of functions were looked at before.
    fn block(ty: BlockType) -> bool {
        match ty {
            BlockType::Type(ty) => is_known(ty),
            BlockType::Empty | BlockType::FuncType(_) => true,
        }
    }

    fn null(ty: HeapType) -> bool {
        module::heap_type(ty, 0).is_ok()
    }
}

/// Is an operator translated? By its proposal, as in `operators`, and the types that it names.
macro_rules! known {
    (@mvp visit_block $ty:ident) => {
        Check::block($ty)
    };
    (@mvp visit_loop $ty:ident) => {
        Check::block($ty)
    };
    (@mvp visit_if $ty:ident) => {
        Check::block($ty)
    };
    (@reference_types visit_typed_select $ty:ident) => {
        is_known($ty)
    };
    (@reference_types visit_ref_null $ty:ident) => {
        Check::null($ty)
    };
    (@mvp $($rest:ident)*) => {
        true
    };
    (@sign_extension $($rest:ident)*) => {
        true
    };
    (@saturating_float_to_int $($rest:ident)*) => {
        true
    };
    (@bulk_memory $($rest:ident)*) => {
        true
    };
    (@reference_types $($rest:ident)*) => {
        true
    };
    (@tail_call $($rest:ident)*) => {
        true
    };
    (@threads $($rest:ident)*) => {
        true
    };
    (@$other:ident $($rest:ident)*) => {
        false
    };
}

macro_rules! visit {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(#[allow(unused_variables, clippy::clone_on_copy, reason = "one row for all operators")]
        fn $visit(&mut self $($(, $arg: $argty)*)?) -> Self::Output {
            self.validator.visitor(self.offset).$visit($($($arg.clone()),*)?)?;
            self.scan.$visit($($($arg.clone()),*)?);
            self.known &= known!(@$proposal $visit $($($arg)*)?);
            Ok(())
        })*
    };
}

macro_rules! visit_simd {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(#[allow(unused_variables, clippy::clone_on_copy, reason = "one row for all operators")]
        fn $visit(&mut self $($(, $arg: $argty)*)?) -> Self::Output {
            self.validator.simd_visitor(self.offset).$visit($($($arg.clone()),*)?)?;
            self.scan.$visit($($($arg.clone()),*)?);
            self.known &= known!(@$proposal $visit $($($arg)*)?);
            Ok(())
        })*
    };
}

impl<'a> VisitOperator<'a> for Check {
    type Output = wasmparser::Result<()>;

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Self::Output>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(visit);
}

impl<'a> VisitSimdOperator<'a> for Check {
    wasmparser::for_each_visit_simd_operator!(visit_simd);
}
