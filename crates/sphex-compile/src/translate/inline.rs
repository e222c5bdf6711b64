//! Inlining: a small leaf's body is translated in place of its call.
//!
//! Which functions may be inlined comes from one look at each body ([`candidate`]), never from another function's
//! compilation. An inlined body goes through the same visitor with a validator, frames, locals and an operand stack of its
//! own; its function frame is a block, so that `return` goes to a join. Leaves call nothing, so this nests one deep.

use super::prescan::Prescan;
use super::{Locals, Output, Scratch, Translator, Values, translate};
use crate::module::ModuleInfo;
use crate::settings::Settings;
use sphex_ir::InlineNode;
use wasmparser::FuncValidatorAllocations;

/// A body of at most so many bytes may be inlined,
const MAX_BYTES: usize = 48;
/// if its translation has at most so many values.
const MAX_VALUES: usize = 48;

/// Bytes of bodies that may be inlined into one of this many.
pub(super) const fn budget(bytes: usize) -> usize {
    8 * bytes
}

/// Whether a function may be inlined: small, a leaf without loops, and valid.
pub(crate) fn candidate(
    info: &ModuleInfo<'_>,
    settings: &Settings,
    position: usize,
    scan: &Prescan,
    scratch: &mut Scratch,
) -> bool {
    let small = info.bodies[position].bytes.as_bytes().len() <= MAX_BYTES;
    if !settings.inlining || !settings.optimize || !small || scan.calls || scan.has_loops() {
        return false;
    }
    translate(info, settings, position, scratch)
        .is_ok_and(|translation| translation.func.insts.len() <= MAX_VALUES && !translation.slots_mode)
}

impl Translator<'_, '_, '_> {
    /// Translates the body of a function here, if it may be inlined: its arguments are on the stack, and its results then.
    pub(super) fn try_inline(&mut self, function: u32) -> Result<bool, super::OpError> {
        let info = self.info;
        let Some(position) = function.checked_sub(info.module.imported.functions) else { return Ok(false) };
        let Some(scan) = info.inlinable.get(position as usize).and_then(Option::as_ref) else {
            return Ok(false);
        };
        let body = &info.bodies[position as usize];
        let bytes = body.bytes.as_bytes().len();
        if self.slots.is_some() || self.node != 0 || bytes > self.inline_bytes {
            return Ok(false);
        }
        self.inline_bytes -= bytes;
        let count = info.module.function_type(function).map_or(0, |ty| ty.params.len());
        let args = self.pop_many(count);
        let validate = wasmparser::FuncToValidate {
            resources: body.validate.resources.clone(),
            index: function,
            ty: body.validate.ty,
            features: body.validate.features,
        };
        let validator = validate.into_validator(FuncValidatorAllocations::default());
        let mut locals = Locals::default();
        locals.clear();
        let nodes = &mut self.b.func.inline_nodes;
        if nodes.is_empty() {
            nodes.push(InlineNode { parent: 0, function: self.validator.index(), call_offset: u32::MAX });
        }
        let node = nodes.len() as u32;
        nodes.push(InlineNode { parent: self.node, function, call_offset: self.offset as u32 });
        // The caller's state waits here.
        let validator = std::mem::replace(&mut self.validator, validator);
        let scan = std::mem::replace(&mut self.scan, scan);
        let locals = std::mem::replace(&mut self.locals, locals);
        let stack = std::mem::take(&mut self.stack);
        let frames = std::mem::take(&mut self.frames);
        let dispatches = std::mem::take(&mut self.dispatches);
        let (loops, ifs, offset) = (self.loops, self.ifs, self.offset);
        (self.loops, self.ifs, self.node) = (0, 0, node);
        let result = self.inlined_body(&args, position as usize);
        (self.loops, self.ifs, self.node, self.offset) = (loops, ifs, 0, offset);
        let results = std::mem::replace(&mut self.stack, stack);
        self.frames = frames;
        self.dispatches = dispatches;
        self.locals = locals;
        self.scan = scan;
        self.validator = validator;
        result?;
        match self.reachable {
            true => self.stack.extend(results),
            false => self.stop(),
        }
        Ok(true)
    }

    fn inlined_body(&mut self, args: &Values, position: usize) -> Output {
        let body = &self.info.bodies[position];
        let mut reader = body.bytes.get_binary_reader();
        reader.set_features(self.settings.features);
        self.validator.read_locals(&mut reader)?;
        self.declare_locals(args)?;
        self.push_inlined_frame(body.validate.ty);
        self.take_fuel();
        self.operators(&mut reader)
    }
}
