//! The instruction table: one row a form, by family.
//!
//! Needs: the words of [`super::row`]. Gives: [`ROWS`] and [`op`], a constant per row. A line reads
//! `NAME "mnemonic" [operands in printing order] => encoding.attributes`. Operands: `D N M A` integer registers by field
//! (`T` is `D` read), `FD FN FM FA` floats, `VD VN VM` vectors, `MEM` memory, `imm(..)`; `.m()` read and written, `.sp()`
//! where 31 is the stack pointer, `.l() .q() .o()` four to sixteen bytes wide, `.half()` the low half of a vector, `.wide()`
//! lanes of twice the size. Words: `sf` 32 and 64 bits, `fp` floats of both, `lanes` vectors by lane, `mem` memory by
//! log2 of its bytes. Attributes: flags read and written (`rf`, `wf`), condition (`cc`), `needs` a feature.
//!
//! Names end in what the operands are where there is more than one form: `R` register, `S` shifted register, `E` extended
//! register, `I` immediate.

use super::features::Feature;
use super::row::*;

macro_rules! rows {
    ($($id:ident $name:literal [$($spec:expr),* $(,)?] => $row:expr;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Index { $($id,)* Count }

        /// Every row, by [`RowId`].
        pub static ROWS: [Row; Index::Count as usize] =
            [$(Row { id: stringify!($id), name: $name, operands: &[$($spec),*], ..$row },)*];

        /// The rows' numbers.
        pub mod op {
            use super::{Index, RowId};
            $(
                #[doc = concat!("`", $name, "` `", stringify!($($spec),*), "`")]
                pub const $id: RowId = RowId(Index::$id as u16);
            )*
        }
    };
}

const AR: Spec = imm(Imm::Arithmetic);
const LOGIC: Spec = imm(Imm::Logical);
const WIDE: Spec = imm(Imm::MoveWide);
const SH: Spec = imm(Imm::Shift);
const EX: Spec = imm(Imm::Extend);
const FIELD: Spec = imm(Imm::Field);
const INSERT: Spec = imm(Imm::Insert);
const BIT: Spec = imm(Imm::Bit);
const LEFT: Spec = imm(Imm::LaneLeft);
const RIGHT: Spec = imm(Imm::LaneRight);
const LANE: Spec = imm(Imm::LaneNumber);

rows! {
    // Constants.
    MOVZ "movz" [D, WIDE] => sf(0x5280_0000);
    MOVN "movn" [D, WIDE] => sf(0x1280_0000);
    MOVK "movk" [D.m(), WIDE] => sf(0x7280_0000);
    ADR "adr" [D.q(), TO] => word(0x1000_0000).to(Jump::Address);
    ADRP "adrp" [D.q(), TO] => word(0x9000_0000).to(Jump::Page);

    // Sums and differences.
    ADD_RRR "add" [D, N, M] => sf(0x0b00_0000);
    ADD_RRS "add" [D, N, M, SH] => sf(0x0b00_0000);
    ADD_RRE "add" [D.sp(), N.sp(), M, EX] => sf(0x0b20_0000);
    ADD_RRI "add" [D.sp(), N.sp(), AR] => sf(0x1100_0000);
    ADDS_RRR "adds" [D, N, M] => sf(0x2b00_0000).wf();
    ADDS_RRS "adds" [D, N, M, SH] => sf(0x2b00_0000).wf();
    ADDS_RRE "adds" [D, N.sp(), M, EX] => sf(0x2b20_0000).wf();
    ADDS_RRI "adds" [D, N.sp(), AR] => sf(0x3100_0000).wf();
    SUB_RRR "sub" [D, N, M] => sf(0x4b00_0000);
    SUB_RRS "sub" [D, N, M, SH] => sf(0x4b00_0000);
    SUB_RRE "sub" [D.sp(), N.sp(), M, EX] => sf(0x4b20_0000);
    SUB_RRI "sub" [D.sp(), N.sp(), AR] => sf(0x5100_0000);
    SUBS_RRR "subs" [D, N, M] => sf(0x6b00_0000).wf();
    SUBS_RRS "subs" [D, N, M, SH] => sf(0x6b00_0000).wf();
    SUBS_RRE "subs" [D, N.sp(), M, EX] => sf(0x6b20_0000).wf();
    SUBS_RRI "subs" [D, N.sp(), AR] => sf(0x7100_0000).wf();
    CMP_RR "cmp" [N, M] => sf(0x6b00_001f).wf();
    CMP_RS "cmp" [N, M, SH] => sf(0x6b00_001f).wf();
    CMP_RE "cmp" [N.sp(), M, EX] => sf(0x6b20_001f).wf();
    CMP_RI "cmp" [N.sp(), AR] => sf(0x7100_001f).wf();
    CMN_RR "cmn" [N, M] => sf(0x2b00_001f).wf();
    CMN_RS "cmn" [N, M, SH] => sf(0x2b00_001f).wf();
    CMN_RE "cmn" [N.sp(), M, EX] => sf(0x2b20_001f).wf();
    CMN_RI "cmn" [N.sp(), AR] => sf(0x3100_001f).wf();
    NEG_R "neg" [D, M] => sf(0x4b00_03e0);
    NEG_S "neg" [D, M, SH] => sf(0x4b00_03e0);
    ADC "adc" [D, N, M] => sf(0x1a00_0000).rf();
    ADCS "adcs" [D, N, M] => sf(0x3a00_0000).rf().wf();
    SBC "sbc" [D, N, M] => sf(0x5a00_0000).rf();
    SBCS "sbcs" [D, N, M] => sf(0x7a00_0000).rf().wf();
    MOV_SP "mov" [D.sp().q(), N.sp().q()] => word(0x9100_0000);

    // Bit patterns.
    AND_RRR "and" [D, N, M] => sf(0x0a00_0000);
    AND_RRS "and" [D, N, M, SH] => sf(0x0a00_0000);
    BIC_RRR "bic" [D, N, M] => sf(0x0a20_0000);
    BIC_RRS "bic" [D, N, M, SH] => sf(0x0a20_0000);
    ORR_RRR "orr" [D, N, M] => sf(0x2a00_0000);
    ORR_RRS "orr" [D, N, M, SH] => sf(0x2a00_0000);
    ORN_RRR "orn" [D, N, M] => sf(0x2a20_0000);
    ORN_RRS "orn" [D, N, M, SH] => sf(0x2a20_0000);
    EOR_RRR "eor" [D, N, M] => sf(0x4a00_0000);
    EOR_RRS "eor" [D, N, M, SH] => sf(0x4a00_0000);
    EON_RRR "eon" [D, N, M] => sf(0x4a20_0000);
    EON_RRS "eon" [D, N, M, SH] => sf(0x4a20_0000);
    ANDS_RRR "ands" [D, N, M] => sf(0x6a00_0000).wf();
    ANDS_RRS "ands" [D, N, M, SH] => sf(0x6a00_0000).wf();
    BICS_RRR "bics" [D, N, M] => sf(0x6a20_0000).wf();
    BICS_RRS "bics" [D, N, M, SH] => sf(0x6a20_0000).wf();
    AND_RRI "and" [D.sp(), N, LOGIC] => sf(0x1200_0000);
    ORR_RRI "orr" [D.sp(), N, LOGIC] => sf(0x3200_0000);
    EOR_RRI "eor" [D.sp(), N, LOGIC] => sf(0x5200_0000);
    ANDS_RRI "ands" [D, N, LOGIC] => sf(0x7200_0000).wf();
    MOV_RI "mov" [D.sp(), LOGIC] => sf(0x3200_03e0);
    MOV_RR "mov" [D, M] => sf(0x2a00_03e0);
    MVN_R "mvn" [D, M] => sf(0x2a20_03e0);
    MVN_S "mvn" [D, M, SH] => sf(0x2a20_03e0);
    TST_RR "tst" [N, M] => sf(0x6a00_001f).wf();
    TST_RS "tst" [N, M, SH] => sf(0x6a00_001f).wf();
    TST_RI "tst" [N, LOGIC] => sf(0x7200_001f).wf();

    // Shifts and fields.
    LSL_RRR "lsl" [D, N, M] => sf(0x1ac0_2000);
    LSR_RRR "lsr" [D, N, M] => sf(0x1ac0_2400);
    ASR_RRR "asr" [D, N, M] => sf(0x1ac0_2800);
    ROR_RRR "ror" [D, N, M] => sf(0x1ac0_2c00);
    LSL_RRI "lsl" [D, N, imm(Imm::ShiftLeft)] => sfn(0x5300_0000);
    LSR_RRI "lsr" [D, N, imm(Imm::ShiftRight)] => sfn(0x5300_0000);
    ASR_RRI "asr" [D, N, imm(Imm::ShiftRight)] => sfn(0x1300_0000);
    EXTR "extr" [D, N, M, imm(Imm::Extract)] => sfn(0x1380_0000);
    UBFX "ubfx" [D, N, FIELD] => sfn(0x5300_0000);
    SBFX "sbfx" [D, N, FIELD] => sfn(0x1300_0000);
    UBFIZ "ubfiz" [D, N, INSERT] => sfn(0x5300_0000);
    SBFIZ "sbfiz" [D, N, INSERT] => sfn(0x1300_0000);
    BFI "bfi" [D.m(), N, INSERT] => sfn(0x3300_0000);
    BFXIL "bfxil" [D.m(), N, FIELD] => sfn(0x3300_0000);
    UXTB "uxtb" [D.l(), N.l()] => word(0x5300_1c00);
    UXTH "uxth" [D.l(), N.l()] => word(0x5300_3c00);
    SXTB "sxtb" [D, N.l()] => sfn(0x1300_1c00);
    SXTH "sxth" [D, N.l()] => sfn(0x1300_3c00);
    SXTW "sxtw" [D.q(), N.l()] => word(0x9340_7c00);

    // Products and quotients.
    MADD "madd" [D, N, M, A] => sf(0x1b00_0000);
    MSUB "msub" [D, N, M, A] => sf(0x1b00_8000);
    MUL "mul" [D, N, M] => sf(0x1b00_7c00);
    MNEG "mneg" [D, N, M] => sf(0x1b00_fc00);
    SMADDL "smaddl" [D.q(), N.l(), M.l(), A.q()] => word(0x9b20_0000);
    SMSUBL "smsubl" [D.q(), N.l(), M.l(), A.q()] => word(0x9b20_8000);
    UMADDL "umaddl" [D.q(), N.l(), M.l(), A.q()] => word(0x9ba0_0000);
    UMSUBL "umsubl" [D.q(), N.l(), M.l(), A.q()] => word(0x9ba0_8000);
    SMULL "smull" [D.q(), N.l(), M.l()] => word(0x9b20_7c00);
    UMULL "umull" [D.q(), N.l(), M.l()] => word(0x9ba0_7c00);
    SMULH "smulh" [D.q(), N.q(), M.q()] => word(0x9b40_7c00);
    UMULH "umulh" [D.q(), N.q(), M.q()] => word(0x9bc0_7c00);
    UDIV "udiv" [D, N, M] => sf(0x1ac0_0800);
    SDIV "sdiv" [D, N, M] => sf(0x1ac0_0c00);

    // Bits.
    RBIT "rbit" [D, N] => sf(0x5ac0_0000);
    REV16 "rev16" [D, N] => sf(0x5ac0_0400);
    REV_W "rev" [D.l(), N.l()] => word(0x5ac0_0800);
    REV_X "rev" [D.q(), N.q()] => word(0xdac0_0c00);
    REV32 "rev32" [D.q(), N.q()] => word(0xdac0_0800);
    CLZ "clz" [D, N] => sf(0x5ac0_1000);
    CLS "cls" [D, N] => sf(0x5ac0_1400);

    // On conditions.
    CSEL "csel" [D, N, M] => sf(0x1a80_0000).cc(12);
    CSINC "csinc" [D, N, M] => sf(0x1a80_0400).cc(12);
    CSINV "csinv" [D, N, M] => sf(0x5a80_0000).cc(12);
    CSNEG "csneg" [D, N, M] => sf(0x5a80_0400).cc(12);
    CSET "cset" [D] => sf(0x1a9f_07e0).not_cc();
    CSETM "csetm" [D] => sf(0x5a9f_03e0).not_cc();
    CCMP_RR "ccmp" [N, M, imm(Imm::Flags)] => sf(0x7a40_0000).cc(12).wf();
    CCMP_RI "ccmp" [N, imm(Imm::CompareFlags)] => sf(0x7a40_0800).cc(12).wf();
    CCMN_RR "ccmn" [N, M, imm(Imm::Flags)] => sf(0x3a40_0000).cc(12).wf();
    CCMN_RI "ccmn" [N, imm(Imm::CompareFlags)] => sf(0x3a40_0800).cc(12).wf();

    // Branches, traps, barriers, hints.
    B "b" [TO] => word(0x1400_0000).to(Jump::Far);
    BL "bl" [TO] => word(0x9400_0000).to(Jump::Call);
    B_COND "b." [TO] => word(0x5400_0000).to(Jump::If).cc(0);
    CBZ "cbz" [T, TO] => sf(0x3400_0000).to(Jump::If);
    CBNZ "cbnz" [T, TO] => sf(0x3500_0000).to(Jump::If);
    TBZ "tbz" [T.q(), BIT, TO] => word(0x3600_0000).to(Jump::Bit);
    TBNZ "tbnz" [T.q(), BIT, TO] => word(0x3700_0000).to(Jump::Bit);
    BR "br" [N.q()] => word(0xd61f_0000);
    BLR "blr" [N.q()] => word(0xd63f_0000);
    RET "ret" [] => word(0xd65f_03c0);
    RETAA "retaa" [] => word(0xd65f_0bff).needs(Feature::Pauth);
    BRK "brk" [imm(Imm::Code)] => word(0xd420_0000);
    UDF "udf" [imm(Imm::LowCode)] => word(0);
    NOP "nop" [] => word(0xd503_201f);
    YIELD "yield" [] => word(0xd503_203f);
    CSDB "csdb" [] => word(0xd503_229f);
    PACIASP "paciasp" [] => word(0xd503_233f);
    AUTIASP "autiasp" [] => word(0xd503_23bf);
    PACIBSP "pacibsp" [] => word(0xd503_237f);
    AUTIBSP "autibsp" [] => word(0xd503_23ff);
    BTI_C "bti c" [] => word(0xd503_245f);
    BTI_J "bti j" [] => word(0xd503_249f);
    BTI_JC "bti jc" [] => word(0xd503_24df);
    DMB_ISH "dmb ish" [] => word(0xd503_3bbf);
    DMB_ISHLD "dmb ishld" [] => word(0xd503_39bf);
    DMB_ISHST "dmb ishst" [] => word(0xd503_3abf);
    DSB_ISH "dsb ish" [] => word(0xd503_3b9f);
    ISB "isb" [] => word(0xd503_3fdf);
    CLREX "clrex" [imm(Imm::Barrier)] => word(0xd503_305f);

    // Loads and stores.
    LDRB "ldrb" [D.l(), MEM] => mem(0x3940_0000, 0);
    LDRH "ldrh" [D.l(), MEM] => mem(0x7940_0000, 1);
    LDR_W "ldr" [D.l(), MEM] => mem(0xb940_0000, 2);
    LDR_X "ldr" [D.q(), MEM] => mem(0xf940_0000, 3);
    LDRSB_W "ldrsb" [D.l(), MEM] => mem(0x39c0_0000, 0);
    LDRSB_X "ldrsb" [D.q(), MEM] => mem(0x3980_0000, 0);
    LDRSH_W "ldrsh" [D.l(), MEM] => mem(0x79c0_0000, 1);
    LDRSH_X "ldrsh" [D.q(), MEM] => mem(0x7980_0000, 1);
    LDRSW "ldrsw" [D.q(), MEM] => mem(0xb980_0000, 2);
    LDR_H "ldr" [FD.h(), MEM] => mem(0x7d40_0000, 1);
    LDR_S "ldr" [FD.l(), MEM] => mem(0xbd40_0000, 2);
    LDR_D "ldr" [FD.q(), MEM] => mem(0xfd40_0000, 3);
    LDR_Q "ldr" [FD.o(), MEM] => mem(0x3dc0_0000, 4);
    STRB "strb" [T.l(), MEMD] => mem(0x3900_0000, 0);
    STRH "strh" [T.l(), MEMD] => mem(0x7900_0000, 1);
    STR_W "str" [T.l(), MEMD] => mem(0xb900_0000, 2);
    STR_X "str" [T.q(), MEMD] => mem(0xf900_0000, 3);
    STR_H "str" [FT.h(), MEMD] => mem(0x7d00_0000, 1);
    STR_S "str" [FT.l(), MEMD] => mem(0xbd00_0000, 2);
    STR_D "str" [FT.q(), MEMD] => mem(0xfd00_0000, 3);
    STR_Q "str" [FT.o(), MEMD] => mem(0x3d80_0000, 4);
    LDRB_PRE "ldrb" [D.l(), MEM] => back(0x3840_0c00, 0, true);
    LDRB_POST "ldrb" [D.l(), MEM] => back(0x3840_0400, 0, false);
    LDRH_PRE "ldrh" [D.l(), MEM] => back(0x7840_0c00, 1, true);
    LDRH_POST "ldrh" [D.l(), MEM] => back(0x7840_0400, 1, false);
    LDR_W_PRE "ldr" [D.l(), MEM] => back(0xb840_0c00, 2, true);
    LDR_W_POST "ldr" [D.l(), MEM] => back(0xb840_0400, 2, false);
    LDR_X_PRE "ldr" [D.q(), MEM] => back(0xf840_0c00, 3, true);
    LDR_X_POST "ldr" [D.q(), MEM] => back(0xf840_0400, 3, false);
    LDRSB_W_PRE "ldrsb" [D.l(), MEM] => back(0x38c0_0c00, 0, true);
    LDRSB_W_POST "ldrsb" [D.l(), MEM] => back(0x38c0_0400, 0, false);
    LDRSB_X_PRE "ldrsb" [D.q(), MEM] => back(0x3880_0c00, 0, true);
    LDRSB_X_POST "ldrsb" [D.q(), MEM] => back(0x3880_0400, 0, false);
    LDRSH_W_PRE "ldrsh" [D.l(), MEM] => back(0x78c0_0c00, 1, true);
    LDRSH_W_POST "ldrsh" [D.l(), MEM] => back(0x78c0_0400, 1, false);
    LDRSH_X_PRE "ldrsh" [D.q(), MEM] => back(0x7880_0c00, 1, true);
    LDRSH_X_POST "ldrsh" [D.q(), MEM] => back(0x7880_0400, 1, false);
    LDRSW_PRE "ldrsw" [D.q(), MEM] => back(0xb880_0c00, 2, true);
    LDRSW_POST "ldrsw" [D.q(), MEM] => back(0xb880_0400, 2, false);
    LDR_S_PRE "ldr" [FD.l(), MEM] => back(0xbc40_0c00, 2, true);
    LDR_S_POST "ldr" [FD.l(), MEM] => back(0xbc40_0400, 2, false);
    LDR_D_PRE "ldr" [FD.q(), MEM] => back(0xfc40_0c00, 3, true);
    LDR_D_POST "ldr" [FD.q(), MEM] => back(0xfc40_0400, 3, false);
    LDR_Q_PRE "ldr" [FD.o(), MEM] => back(0x3cc0_0c00, 4, true);
    LDR_Q_POST "ldr" [FD.o(), MEM] => back(0x3cc0_0400, 4, false);
    STRB_PRE "strb" [T.l(), MEMD] => back(0x3800_0c00, 0, true);
    STRB_POST "strb" [T.l(), MEMD] => back(0x3800_0400, 0, false);
    STRH_PRE "strh" [T.l(), MEMD] => back(0x7800_0c00, 1, true);
    STRH_POST "strh" [T.l(), MEMD] => back(0x7800_0400, 1, false);
    STR_W_PRE "str" [T.l(), MEMD] => back(0xb800_0c00, 2, true);
    STR_W_POST "str" [T.l(), MEMD] => back(0xb800_0400, 2, false);
    STR_X_PRE "str" [T.q(), MEMD] => back(0xf800_0c00, 3, true);
    STR_X_POST "str" [T.q(), MEMD] => back(0xf800_0400, 3, false);
    STR_S_PRE "str" [FT.l(), MEMD] => back(0xbc00_0c00, 2, true);
    STR_S_POST "str" [FT.l(), MEMD] => back(0xbc00_0400, 2, false);
    STR_D_PRE "str" [FT.q(), MEMD] => back(0xfc00_0c00, 3, true);
    STR_D_POST "str" [FT.q(), MEMD] => back(0xfc00_0400, 3, false);
    STR_Q_PRE "str" [FT.o(), MEMD] => back(0x3c80_0c00, 4, true);
    STR_Q_POST "str" [FT.o(), MEMD] => back(0x3c80_0400, 4, false);
    LDP_W "ldp" [D.l(), D2.l(), MEM] => pair(0x2940_0000, 2);
    STP_W "stp" [T.l(), A.l(), MEMD] => pair(0x2900_0000, 2);
    LDP_W_PRE "ldp" [D.l(), D2.l(), MEM] => pair_back(0x29c0_0000, 2, true);
    LDP_W_POST "ldp" [D.l(), D2.l(), MEM] => pair_back(0x28c0_0000, 2, false);
    STP_W_PRE "stp" [T.l(), A.l(), MEMD] => pair_back(0x2980_0000, 2, true);
    STP_W_POST "stp" [T.l(), A.l(), MEMD] => pair_back(0x2880_0000, 2, false);
    LDP_X "ldp" [D.q(), D2.q(), MEM] => pair(0xa940_0000, 3);
    STP_X "stp" [T.q(), A.q(), MEMD] => pair(0xa900_0000, 3);
    LDP_X_PRE "ldp" [D.q(), D2.q(), MEM] => pair_back(0xa9c0_0000, 3, true);
    LDP_X_POST "ldp" [D.q(), D2.q(), MEM] => pair_back(0xa8c0_0000, 3, false);
    STP_X_PRE "stp" [T.q(), A.q(), MEMD] => pair_back(0xa980_0000, 3, true);
    STP_X_POST "stp" [T.q(), A.q(), MEMD] => pair_back(0xa880_0000, 3, false);
    LDP_S "ldp" [FD.l(), FD2.l(), MEM] => pair(0x2d40_0000, 2);
    STP_S "stp" [FT.l(), FA.l(), MEMD] => pair(0x2d00_0000, 2);
    LDP_S_PRE "ldp" [FD.l(), FD2.l(), MEM] => pair_back(0x2dc0_0000, 2, true);
    LDP_S_POST "ldp" [FD.l(), FD2.l(), MEM] => pair_back(0x2cc0_0000, 2, false);
    STP_S_PRE "stp" [FT.l(), FA.l(), MEMD] => pair_back(0x2d80_0000, 2, true);
    STP_S_POST "stp" [FT.l(), FA.l(), MEMD] => pair_back(0x2c80_0000, 2, false);
    LDP_D "ldp" [FD.q(), FD2.q(), MEM] => pair(0x6d40_0000, 3);
    STP_D "stp" [FT.q(), FA.q(), MEMD] => pair(0x6d00_0000, 3);
    LDP_D_PRE "ldp" [FD.q(), FD2.q(), MEM] => pair_back(0x6dc0_0000, 3, true);
    LDP_D_POST "ldp" [FD.q(), FD2.q(), MEM] => pair_back(0x6cc0_0000, 3, false);
    STP_D_PRE "stp" [FT.q(), FA.q(), MEMD] => pair_back(0x6d80_0000, 3, true);
    STP_D_POST "stp" [FT.q(), FA.q(), MEMD] => pair_back(0x6c80_0000, 3, false);
    LDP_Q "ldp" [FD.o(), FD2.o(), MEM] => pair(0xad40_0000, 4);
    STP_Q "stp" [FT.o(), FA.o(), MEMD] => pair(0xad00_0000, 4);
    LDP_Q_PRE "ldp" [FD.o(), FD2.o(), MEM] => pair_back(0xadc0_0000, 4, true);
    LDP_Q_POST "ldp" [FD.o(), FD2.o(), MEM] => pair_back(0xacc0_0000, 4, false);
    STP_Q_PRE "stp" [FT.o(), FA.o(), MEMD] => pair_back(0xad80_0000, 4, true);
    STP_Q_POST "stp" [FT.o(), FA.o(), MEMD] => pair_back(0xac80_0000, 4, false);
    LDPSW "ldpsw" [D.q(), D2.q(), MEM] => pair(0x6940_0000, 2);
    LDR_LIT "ldr" [D, TO] => b30(0x1800_0000).to(Jump::Literal);
    LDRSW_LIT "ldrsw" [D.q(), TO] => word(0x9800_0000).to(Jump::Literal);
    LDR_S_LIT "ldr" [FD.l(), TO] => word(0x1c00_0000).to(Jump::Literal);
    LDR_D_LIT "ldr" [FD.q(), TO] => word(0x5c00_0000).to(Jump::Literal);
    LDR_Q_LIT "ldr" [FD.o(), TO] => word(0x9c00_0000).to(Jump::Literal);

    // Ordered, exclusive and atomic accesses: the base alone.
    LDAR "ldar" [D, MEM] => atomic(0x08df_fc00);
    STLR "stlr" [T, MEMD] => atomic(0x089f_fc00);
    LDXR "ldxr" [D.early(), MEM] => atomic(0x085f_7c00);
    LDAXR "ldaxr" [D.early(), MEM] => atomic(0x085f_fc00);
    LDAPR "ldapr" [D, MEM] => atomic(0x38bf_c000).needs(Feature::Lrcpc);
    STXR "stxr" [DS, T, MEMD] => atomic(0x0800_7c00);
    STLXR "stlxr" [DS, T, MEMD] => atomic(0x0800_fc00);
    LDXP "ldxp" [D.early(), D2.early(), MEM] => b30(0x887f_0000);
    LDAXP "ldaxp" [D.early(), D2.early(), MEM] => b30(0x887f_8000);
    STXP "stxp" [DS, T, A, MEMD] => b30(0x8820_0000);
    STLXP "stlxp" [DS, T, A, MEMD] => b30(0x8820_8000);
    LDADDAL "ldaddal" [M, D, MEMM] => atomic(0x38e0_0000).lse();
    LDCLRAL "ldclral" [M, D, MEMM] => atomic(0x38e0_1000).lse();
    LDEORAL "ldeoral" [M, D, MEMM] => atomic(0x38e0_2000).lse();
    LDSETAL "ldsetal" [M, D, MEMM] => atomic(0x38e0_3000).lse();
    LDSMAXAL "ldsmaxal" [M, D, MEMM] => atomic(0x38e0_4000).lse();
    LDSMINAL "ldsminal" [M, D, MEMM] => atomic(0x38e0_5000).lse();
    LDUMAXAL "ldumaxal" [M, D, MEMM] => atomic(0x38e0_6000).lse();
    LDUMINAL "lduminal" [M, D, MEMM] => atomic(0x38e0_7000).lse();
    SWPAL "swpal" [M, D, MEMM] => atomic(0x38e0_8000).lse();
    CASAL "casal" [M.m(), T, MEMM] => atomic(0x08e0_fc00).lse();
    CASPAL "caspal" [PAIR.m(), TPAIR, MEMM] => b30(0x0860_fc00).lse();

    // Floats.
    FMUL "fmul" [FD, FN, FM] => fp(0x1e20_0800);
    FDIV "fdiv" [FD, FN, FM] => fp(0x1e20_1800);
    FADD "fadd" [FD, FN, FM] => fp(0x1e20_2800);
    FSUB "fsub" [FD, FN, FM] => fp(0x1e20_3800);
    FMAX "fmax" [FD, FN, FM] => fp(0x1e20_4800);
    FMIN "fmin" [FD, FN, FM] => fp(0x1e20_5800);
    FMAXNM "fmaxnm" [FD, FN, FM] => fp(0x1e20_6800);
    FMINNM "fminnm" [FD, FN, FM] => fp(0x1e20_7800);
    FNMUL "fnmul" [FD, FN, FM] => fp(0x1e20_8800);
    FMADD "fmadd" [FD, FN, FM, FA] => fp(0x1f00_0000);
    FMSUB "fmsub" [FD, FN, FM, FA] => fp(0x1f00_8000);
    FNMADD "fnmadd" [FD, FN, FM, FA] => fp(0x1f20_0000);
    FNMSUB "fnmsub" [FD, FN, FM, FA] => fp(0x1f20_8000);
    FMOV_RR "fmov" [FD, FN] => fp(0x1e20_4000);
    FABS "fabs" [FD, FN] => fp(0x1e20_c000);
    FNEG "fneg" [FD, FN] => fp(0x1e21_4000);
    FSQRT "fsqrt" [FD, FN] => fp(0x1e21_c000);
    FRINTN "frintn" [FD, FN] => fp(0x1e24_4000);
    FRINTP "frintp" [FD, FN] => fp(0x1e24_c000);
    FRINTM "frintm" [FD, FN] => fp(0x1e25_4000);
    FRINTZ "frintz" [FD, FN] => fp(0x1e25_c000);
    FRINTA "frinta" [FD, FN] => fp(0x1e26_4000);
    FRINTX "frintx" [FD, FN] => fp(0x1e27_4000);
    FRINTI "frinti" [FD, FN] => fp(0x1e27_c000);
    FMOV_RI "fmov" [FD, imm(Imm::Float)] => fp(0x1e20_1000);
    FCVT_SH "fcvt" [FD.l(), FN.h()] => word(0x1ee2_4000);
    FCVT_DH "fcvt" [FD.q(), FN.h()] => word(0x1ee2_c000);
    FCVT_HS "fcvt" [FD.h(), FN.l()] => word(0x1e23_c000);
    FCVT_DS "fcvt" [FD.q(), FN.l()] => word(0x1e22_c000);
    FCVT_HD "fcvt" [FD.h(), FN.q()] => word(0x1e63_c000);
    FCVT_SD "fcvt" [FD.l(), FN.q()] => word(0x1e62_4000);
    FCMP "fcmp" [FN, FM] => fp(0x1e20_2000).wf();
    FCMP_ZERO "fcmp" [FN, imm(Imm::Zero)] => fp(0x1e20_2008).wf();
    FCSEL "fcsel" [FD, FN, FM] => fp(0x1e20_0c00).cc(12);
    FCCMP "fccmp" [FN, FM, imm(Imm::Flags)] => fp(0x1e20_0400).cc(12).wf();
    FMOV_SW "fmov" [FD.l(), N.l()] => word(0x1e27_0000);
    FMOV_WS "fmov" [D.l(), FN.l()] => word(0x1e26_0000);
    FMOV_DX "fmov" [FD.q(), N.q()] => word(0x9e67_0000);
    FMOV_XD "fmov" [D.q(), FN.q()] => word(0x9e66_0000);
    FCVTZS_S "fcvtzs" [D, FN.l()] => sf(0x1e38_0000);
    FCVTZS_D "fcvtzs" [D, FN.q()] => sf(0x1e78_0000);
    FCVTZU_S "fcvtzu" [D, FN.l()] => sf(0x1e39_0000);
    FCVTZU_D "fcvtzu" [D, FN.q()] => sf(0x1e79_0000);
    SCVTF_S "scvtf" [FD.l(), N] => sf(0x1e22_0000);
    SCVTF_D "scvtf" [FD.q(), N] => sf(0x1e62_0000);
    UCVTF_S "ucvtf" [FD.l(), N] => sf(0x1e23_0000);
    UCVTF_D "ucvtf" [FD.q(), N] => sf(0x1e63_0000);

    // Vectors of integers.
    VADD "add" [VD, VN, VM] => lanes(0x4e20_8400, BWLQ);
    VSUB "sub" [VD, VN, VM] => lanes(0x6e20_8400, BWLQ);
    VMUL "mul" [VD, VN, VM] => lanes(0x4e20_9c00, BWL);
    VMLA "mla" [VD.m(), VN, VM] => lanes(0x4e20_9400, BWL);
    VCMGT "cmgt" [VD, VN, VM] => lanes(0x4e20_3400, BWLQ);
    VCMGE "cmge" [VD, VN, VM] => lanes(0x4e20_3c00, BWLQ);
    VCMHI "cmhi" [VD, VN, VM] => lanes(0x6e20_3400, BWLQ);
    VCMHS "cmhs" [VD, VN, VM] => lanes(0x6e20_3c00, BWLQ);
    VCMEQ "cmeq" [VD, VN, VM] => lanes(0x6e20_8c00, BWLQ);
    VCMTST "cmtst" [VD, VN, VM] => lanes(0x4e20_8c00, BWLQ);
    VSMAX "smax" [VD, VN, VM] => lanes(0x4e20_6400, BWL);
    VSMIN "smin" [VD, VN, VM] => lanes(0x4e20_6c00, BWL);
    VUMAX "umax" [VD, VN, VM] => lanes(0x6e20_6400, BWL);
    VUMIN "umin" [VD, VN, VM] => lanes(0x6e20_6c00, BWL);
    VSQADD "sqadd" [VD, VN, VM] => lanes(0x4e20_0c00, BWLQ);
    VUQADD "uqadd" [VD, VN, VM] => lanes(0x6e20_0c00, BWLQ);
    VSQSUB "sqsub" [VD, VN, VM] => lanes(0x4e20_2c00, BWLQ);
    VUQSUB "uqsub" [VD, VN, VM] => lanes(0x6e20_2c00, BWLQ);
    VURHADD "urhadd" [VD, VN, VM] => lanes(0x6e20_1400, BWL);
    VSSHL "sshl" [VD, VN, VM] => lanes(0x4e20_4400, BWLQ);
    VUSHL "ushl" [VD, VN, VM] => lanes(0x6e20_4400, BWLQ);
    VADDP "addp" [VD, VN, VM] => lanes(0x4e20_bc00, BWLQ);
    VUMAXP "umaxp" [VD, VN, VM] => lanes(0x6e20_a400, BWL);
    VUMINP "uminp" [VD, VN, VM] => lanes(0x6e20_ac00, BWL);
    VSQRDMULH "sqrdmulh" [VD, VN, VM] => lanes(0x6e20_b400, WL);
    VSQDMULH "sqdmulh" [VD, VN, VM] => lanes(0x4e20_b400, WL);
    VABS "abs" [VD, VN] => lanes(0x4e20_b800, BWLQ);
    VNEG "neg" [VD, VN] => lanes(0x6e20_b800, BWLQ);
    VCLS "cls" [VD, VN] => lanes(0x4e20_4800, BWL);
    VCLZ "clz" [VD, VN] => lanes(0x6e20_4800, BWL);
    VREV64 "rev64" [VD, VN] => lanes(0x4e20_0800, BWL);
    VREV32 "rev32" [VD, VN] => lanes(0x6e20_0800, BW);
    VREV16 "rev16" [VD.b(), VN.b()] => word(0x4e20_1800);
    VCNT "cnt" [VD.b(), VN.b()] => word(0x4e20_5800);
    VCMGT_ZERO "cmgt" [VD, VN, imm(Imm::LaneZero)] => lanes(0x4e20_8800, BWLQ);
    VCMGE_ZERO "cmge" [VD, VN, imm(Imm::LaneZero)] => lanes(0x6e20_8800, BWLQ);
    VCMEQ_ZERO "cmeq" [VD, VN, imm(Imm::LaneZero)] => lanes(0x4e20_9800, BWLQ);
    VCMLE_ZERO "cmle" [VD, VN, imm(Imm::LaneZero)] => lanes(0x6e20_9800, BWLQ);
    VCMLT_ZERO "cmlt" [VD, VN, imm(Imm::LaneZero)] => lanes(0x4e20_a800, BWLQ);
    VSHL_I "shl" [VD, VN, LEFT] => shifts(0x4f00_5400, BWLQ);
    VSSHR_I "sshr" [VD, VN, RIGHT] => shifts(0x4f00_0400, BWLQ);
    VUSHR_I "ushr" [VD, VN, RIGHT] => shifts(0x6f00_0400, BWLQ);
    VSSRA_I "ssra" [VD.m(), VN, RIGHT] => shifts(0x4f00_1400, BWLQ);
    VUSRA_I "usra" [VD.m(), VN, RIGHT] => shifts(0x6f00_1400, BWLQ);
    VSLI_I "sli" [VD.m(), VN, LEFT] => shifts(0x6f00_5400, BWLQ);
    VSSHLL "sshll" [VD.wide(), VN.half(), LEFT] => shifts(0x0f00_a400, BWL);
    VSSHLL2 "sshll2" [VD.wide(), VN, LEFT] => shifts(0x4f00_a400, BWL);
    VUSHLL "ushll" [VD.wide(), VN.half(), LEFT] => shifts(0x2f00_a400, BWL);
    VUSHLL2 "ushll2" [VD.wide(), VN, LEFT] => shifts(0x6f00_a400, BWL);
    VSHRN "shrn" [VD.half(), VN.wide(), RIGHT] => shifts(0x0f00_8400, BWL);
    VXTN "xtn" [VD.half(), VN.wide()] => lanes(0x0e21_2800, BWL);
    VXTN2 "xtn2" [VD.m(), VN.wide()] => lanes(0x4e21_2800, BWL);
    VSQXTN "sqxtn" [VD.half(), VN.wide()] => lanes(0x0e21_4800, BWL);
    VSQXTN2 "sqxtn2" [VD.m(), VN.wide()] => lanes(0x4e21_4800, BWL);
    VUQXTN "uqxtn" [VD.half(), VN.wide()] => lanes(0x2e21_4800, BWL);
    VUQXTN2 "uqxtn2" [VD.m(), VN.wide()] => lanes(0x6e21_4800, BWL);
    VSQXTUN "sqxtun" [VD.half(), VN.wide()] => lanes(0x2e21_2800, BWL);
    VSQXTUN2 "sqxtun2" [VD.m(), VN.wide()] => lanes(0x6e21_2800, BWL);
    VSMULL "smull" [VD.wide(), VN.half(), VM.half()] => lanes(0x0e20_c000, BWL);
    VSMULL2 "smull2" [VD.wide(), VN, VM] => lanes(0x4e20_c000, BWL);
    VUMULL "umull" [VD.wide(), VN.half(), VM.half()] => lanes(0x2e20_c000, BWL);
    VUMULL2 "umull2" [VD.wide(), VN, VM] => lanes(0x6e20_c000, BWL);
    VSMLAL "smlal" [VD.m().wide(), VN.half(), VM.half()] => lanes(0x0e20_8000, BWL);
    VSMLAL2 "smlal2" [VD.m().wide(), VN, VM] => lanes(0x4e20_8000, BWL);
    VUMLAL "umlal" [VD.m().wide(), VN.half(), VM.half()] => lanes(0x2e20_8000, BWL);
    VUMLAL2 "umlal2" [VD.m().wide(), VN, VM] => lanes(0x6e20_8000, BWL);
    VSADDL "saddl" [VD.wide(), VN.half(), VM.half()] => lanes(0x0e20_0000, BWL);
    VSADDL2 "saddl2" [VD.wide(), VN, VM] => lanes(0x4e20_0000, BWL);
    VUADDL "uaddl" [VD.wide(), VN.half(), VM.half()] => lanes(0x2e20_0000, BWL);
    VUADDL2 "uaddl2" [VD.wide(), VN, VM] => lanes(0x6e20_0000, BWL);
    VSADDLP "saddlp" [VD.wide(), VN] => lanes(0x4e20_2800, BWL);
    VUADDLP "uaddlp" [VD.wide(), VN] => lanes(0x6e20_2800, BWL);
    ADDV "addv" [FD, VN] => lanes(0x4e31_b800, BWL);
    UMAXV "umaxv" [FD, VN] => lanes(0x6e30_a800, BWL);
    UMINV "uminv" [FD, VN] => lanes(0x6e31_a800, BWL);
    SMAXV "smaxv" [FD, VN] => lanes(0x4e30_a800, BWL);
    SDOT "sdot" [VD.m().l(), VN.b(), VM.b()] => word(0x4e80_9400).needs(Feature::Dotprod);

    // Vectors of bits and bytes.
    VAND "and" [VD.b(), VN.b(), VM.b()] => word(0x4e20_1c00);
    VBIC "bic" [VD.b(), VN.b(), VM.b()] => word(0x4e60_1c00);
    VORR "orr" [VD.b(), VN.b(), VM.b()] => word(0x4ea0_1c00);
    VORN "orn" [VD.b(), VN.b(), VM.b()] => word(0x4ee0_1c00);
    VEOR "eor" [VD.b(), VN.b(), VM.b()] => word(0x6e20_1c00);
    VBSL "bsl" [VD.m().b(), VN.b(), VM.b()] => word(0x6e60_1c00);
    VBIT "bit" [VD.m().b(), VN.b(), VM.b()] => word(0x6ea0_1c00);
    VBIF "bif" [VD.m().b(), VN.b(), VM.b()] => word(0x6ee0_1c00);
    VMOV "mov" [VD.b(), VBOTH.b()] => word(0x4ea0_1c00);
    VNOT "mvn" [VD.b(), VN.b()] => word(0x6e20_5800);
    VEXT "ext" [VD.b(), VN.b(), VM.b(), imm(Imm::Start)] => word(0x6e00_0000);
    TBL1 "tbl" [VD.b(), LN.b(), VM.b()] => word(0x4e00_0000);
    TBL2 "tbl" [VD.b(), LN.b(), VM.b()] => word(0x4e00_2000).lists(2);
    TBX1 "tbx" [VD.m().b(), LN.b(), VM.b()] => word(0x4e00_1000);
    UZP1 "uzp1" [VD, VN, VM] => lanes(0x4e00_1800, BWLQ);
    TRN1 "trn1" [VD, VN, VM] => lanes(0x4e00_2800, BWLQ);
    ZIP1 "zip1" [VD, VN, VM] => lanes(0x4e00_3800, BWLQ);
    UZP2 "uzp2" [VD, VN, VM] => lanes(0x4e00_5800, BWLQ);
    TRN2 "trn2" [VD, VN, VM] => lanes(0x4e00_6800, BWLQ);
    ZIP2 "zip2" [VD, VN, VM] => lanes(0x4e00_7800, BWLQ);
    MOVI_B "movi" [VD.b(), imm(Imm::Byte)] => word(0x4f00_e400);
    MOVI_D "movi" [VD.q(), imm(Imm::ByteMask)] => word(0x6f00_e400);
    MOVI_H "movi" [VD.h(), imm(Imm::Shifted)] => word(0x4f00_8400);
    MVNI_H "mvni" [VD.h(), imm(Imm::Shifted)] => word(0x6f00_8400);
    MOVI_S "movi" [VD.l(), imm(Imm::Shifted)] => word(0x4f00_0400);
    MVNI_S "mvni" [VD.l(), imm(Imm::Shifted)] => word(0x6f00_0400);
    VFMOV_S "fmov" [VD.l(), imm(Imm::LaneFloat)] => word(0x4f00_f400);
    VFMOV_D "fmov" [VD.q(), imm(Imm::LaneFloat)] => word(0x6f00_f400);

    // Lanes.
    DUP_R "dup" [VD, DN] => indexed(0x4e00_0c00, BWLQ);
    DUP_LANE "dup" [VD, VN.lane(), LANE] => indexed(0x4e00_0400, BWLQ);
    INS_R "mov" [VD.lane().m(), LANE, DN] => indexed(0x4e00_1c00, BWLQ);
    INS_LANE "mov" [VD.lane().m(), VN.lane(), imm(Imm::TwoLanes)] => indexed(0x6e00_0400, BWLQ);
    UMOV_W "umov" [D.l(), VN.lane(), LANE] => indexed(0x0e00_3c00, BW);
    MOV_LANE_W "mov" [D.l(), VN.lane(), LANE] => indexed(0x0e00_3c00, L);
    MOV_LANE_X "mov" [D.q(), VN.lane(), LANE] => indexed(0x4e00_3c00, Q);
    SMOV_W "smov" [D.l(), VN.lane(), LANE] => indexed(0x0e00_2c00, BW);
    SMOV_X "smov" [D.q(), VN.lane(), LANE] => indexed(0x4e00_2c00, BWL);
    DUP_SCALAR "mov" [FD, VN.lane(), LANE] => indexed(0x5e00_0400, BWLQ);
    LD1R "ld1r" [LD, MEM] => every_lane(0x4d40_c000);
    LD1_LANE "ld1" [LTM, imm(Imm::MemoryLane), MEM] => one_lane(0x0d40_0000);
    ST1_LANE "st1" [LT, imm(Imm::MemoryLane), MEMD] => one_lane(0x0d00_0000);

    // Vectors of floats.
    VFADD "fadd" [VD, VN, VM] => flanes(0x4e20_d400);
    VFSUB "fsub" [VD, VN, VM] => flanes(0x4ea0_d400);
    VFMUL "fmul" [VD, VN, VM] => flanes(0x6e20_dc00);
    VFDIV "fdiv" [VD, VN, VM] => flanes(0x6e20_fc00);
    VFMAX "fmax" [VD, VN, VM] => flanes(0x4e20_f400);
    VFMIN "fmin" [VD, VN, VM] => flanes(0x4ea0_f400);
    VFMAXNM "fmaxnm" [VD, VN, VM] => flanes(0x4e20_c400);
    VFMINNM "fminnm" [VD, VN, VM] => flanes(0x4ea0_c400);
    VFCMEQ "fcmeq" [VD, VN, VM] => flanes(0x4e20_e400);
    VFCMGE "fcmge" [VD, VN, VM] => flanes(0x6e20_e400);
    VFCMGT "fcmgt" [VD, VN, VM] => flanes(0x6ea0_e400);
    VFMLA "fmla" [VD.m(), VN, VM] => flanes(0x4e20_cc00);
    VFMLS "fmls" [VD.m(), VN, VM] => flanes(0x4ea0_cc00);
    VFADDP "faddp" [VD, VN, VM] => flanes(0x6e20_d400);
    VFABS "fabs" [VD, VN] => flanes(0x4ea0_f800);
    VFNEG "fneg" [VD, VN] => flanes(0x6ea0_f800);
    VFSQRT "fsqrt" [VD, VN] => flanes(0x6ea1_f800);
    VFRINTN "frintn" [VD, VN] => flanes(0x4e21_8800);
    VFRINTP "frintp" [VD, VN] => flanes(0x4ea1_8800);
    VFRINTM "frintm" [VD, VN] => flanes(0x4e21_9800);
    VFRINTZ "frintz" [VD, VN] => flanes(0x4ea1_9800);
    VFCVTZS "fcvtzs" [VD, VN] => flanes(0x4ea1_b800);
    VFCVTZU "fcvtzu" [VD, VN] => flanes(0x6ea1_b800);
    VSCVTF "scvtf" [VD, VN] => flanes(0x4e21_d800);
    VUCVTF "ucvtf" [VD, VN] => flanes(0x6e21_d800);
    VFCVTL "fcvtl" [VD.q(), VN.half().l()] => word(0x0e61_7800);
    VFCVTL2 "fcvtl2" [VD.q(), VN.l()] => word(0x4e61_7800);
    VFCVTN "fcvtn" [VD.half().l(), VN.q()] => word(0x0e61_6800);
    VFCVTN2 "fcvtn2" [VD.m().l(), VN.q()] => word(0x4e61_6800);
}
