//! The instruction table: one row a form, by family.
//!
//! Needs: the words of [`super::row`]. Gives: [`ROWS`] and [`op`], a constant per row. A line reads
//! `NAME "mnemonic" [operands in printing order] => encoding.attributes`. Operands: `G` integer register, `GM` integer
//! register or memory, `M` memory, `X`/`XM`/`XR` the same for 128-bit vectors, `V`.. for vectors of the variant's size,
//! `IB IW IV IQ` immediates; `.d` written, `.m` read and written, `.e` written early, `.h` hidden; `.b .w .l .q .o .y`
//! one to 32 bytes wide. Attributes: sizes allowed (`sized`), flags read and written (`rf`, `wf`), `needs` a feature.
//!
//! Names end in what the operands are where there is more than one form: `R` register, `M` memory (`RM`, as a source,
//! also takes a register), `I` immediate.

use super::features::Feature;
use super::row::*;

macro_rules! rows {
    ($($id:ident $name:literal [$($spec:expr),* $(,)?] => $row:expr;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Index { $($id,)* Count }

        /// Every row, by [`RowId`].
        pub static ROWS: [Row; Index::Count as usize] =
            [$(Row { id: stringify!($id), name: $name, operands: &[$($spec),*], ..$row }.finish(),)*];

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

rows! {
    // Moves.
    MOV_RM "mov" [G.d(), GM] => op1(0x8b).sized(BWLQ);
    MOV_MR "mov" [M.d(), G] => op1(0x89).sized(BWLQ);
    MOV_RI "mov" [GO.d(), IV] => op1(0xb8).byte(0xb0).sized(B | W | L);
    MOV_RI_SIGNED "mov" [GR.d(), IV] => op1(0xc7).sized(Q);
    MOV_RI64 "mov" [GO.d().q(), IQ] => op1(0xb8).w1();
    MOV_MI "mov" [M.d(), IV] => op1(0xc7).sized(BWLQ);
    MOVZX8 "movzx" [G.d(), GM.b()] => op2(0xb6).sized(WLQ);
    MOVZX16 "movzx" [G.d(), GM.w()] => op2(0xb7).sized(LQ);
    MOVSX8 "movsx" [G.d(), GM.b()] => op2(0xbe).sized(WLQ);
    MOVSX16 "movsx" [G.d(), GM.w()] => op2(0xbf).sized(LQ);
    MOVSXD "movsxd" [G.d().q(), GM.l()] => op1(0x63).w1();
    LEA "lea" [G.d(), M] => op1(0x8d).sized(LQ).address();
    MOVBE_RM "movbe" [G.d(), M] => p38(NP, 0xf0).sized(WLQ).needs(Feature::Movbe);
    MOVBE_MR "movbe" [M.d(), G] => p38(NP, 0xf1).sized(WLQ).needs(Feature::Movbe);
    XCHG_RR "xchg" [GR.m(), G.m()] => op1(0x87).sized(BWLQ);
    XCHG_MR "xchg" [M.m(), G.m()] => op1(0x87).sized(BWLQ);
    PUSH_R "push" [GO.q()] => op1(0x50);
    PUSH_M "push" [M.q()] => op1(0xff).digit(6);
    POP_R "pop" [GO.q().d()] => op1(0x58);

    // Arithmetic: destination first.
    ADD_RM "add" [G.m(), GM] => op1(0x03).sized(BWLQ).wf();
    ADD_MR "add" [M.m(), G] => op1(0x01).sized(BWLQ).wf();
    ADD_RI "add" [GR.m(), IV] => op1(0x81).digit(0).sized(BWLQ).short().wf();
    ADD_MI "add" [M.m(), IV] => op1(0x81).digit(0).sized(BWLQ).short().wf();
    OR_RM "or" [G.m(), GM] => op1(0x0b).sized(BWLQ).wf();
    OR_MR "or" [M.m(), G] => op1(0x09).sized(BWLQ).wf();
    OR_RI "or" [GR.m(), IV] => op1(0x81).digit(1).sized(BWLQ).short().wf();
    OR_MI "or" [M.m(), IV] => op1(0x81).digit(1).sized(BWLQ).short().wf();
    ADC_RM "adc" [G.m(), GM] => op1(0x13).sized(BWLQ).rf().wf();
    ADC_MR "adc" [M.m(), G] => op1(0x11).sized(BWLQ).rf().wf();
    ADC_RI "adc" [GR.m(), IV] => op1(0x81).digit(2).sized(BWLQ).short().rf().wf();
    ADC_MI "adc" [M.m(), IV] => op1(0x81).digit(2).sized(BWLQ).short().rf().wf();
    SBB_RM "sbb" [G.m(), GM] => op1(0x1b).sized(BWLQ).rf().wf();
    SBB_MR "sbb" [M.m(), G] => op1(0x19).sized(BWLQ).rf().wf();
    SBB_RI "sbb" [GR.m(), IV] => op1(0x81).digit(3).sized(BWLQ).short().rf().wf();
    SBB_MI "sbb" [M.m(), IV] => op1(0x81).digit(3).sized(BWLQ).short().rf().wf();
    AND_RM "and" [G.m(), GM] => op1(0x23).sized(BWLQ).wf();
    AND_MR "and" [M.m(), G] => op1(0x21).sized(BWLQ).wf();
    AND_RI "and" [GR.m(), IV] => op1(0x81).digit(4).sized(BWLQ).short().wf();
    AND_MI "and" [M.m(), IV] => op1(0x81).digit(4).sized(BWLQ).short().wf();
    SUB_RM "sub" [G.m(), GM] => op1(0x2b).sized(BWLQ).wf();
    SUB_MR "sub" [M.m(), G] => op1(0x29).sized(BWLQ).wf();
    SUB_RI "sub" [GR.m(), IV] => op1(0x81).digit(5).sized(BWLQ).short().wf();
    SUB_MI "sub" [M.m(), IV] => op1(0x81).digit(5).sized(BWLQ).short().wf();
    XOR_RM "xor" [G.m(), GM] => op1(0x33).sized(BWLQ).wf();
    XOR_MR "xor" [M.m(), G] => op1(0x31).sized(BWLQ).wf();
    XOR_RI "xor" [GR.m(), IV] => op1(0x81).digit(6).sized(BWLQ).short().wf();
    XOR_MI "xor" [M.m(), IV] => op1(0x81).digit(6).sized(BWLQ).short().wf();
    CMP_RM "cmp" [G, GM] => op1(0x3b).sized(BWLQ).wf();
    CMP_MR "cmp" [M, G] => op1(0x39).sized(BWLQ).wf();
    CMP_RI "cmp" [GR, IV] => op1(0x81).digit(7).sized(BWLQ).short().wf();
    CMP_MI "cmp" [M, IV] => op1(0x81).digit(7).sized(BWLQ).short().wf();
    TEST_RR "test" [GR, G] => op1(0x85).sized(BWLQ).wf();
    TEST_MR "test" [M, G] => op1(0x85).sized(BWLQ).wf();
    TEST_RI "test" [GR, IV] => op1(0xf7).digit(0).sized(BWLQ).wf();
    TEST_MI "test" [M, IV] => op1(0xf7).digit(0).sized(BWLQ).wf();
    NEG_R "neg" [GR.m()] => op1(0xf7).digit(3).sized(BWLQ).wf();
    NEG_M "neg" [M.m()] => op1(0xf7).digit(3).sized(BWLQ).wf();
    NOT_R "not" [GR.m()] => op1(0xf7).digit(2).sized(BWLQ);
    NOT_M "not" [M.m()] => op1(0xf7).digit(2).sized(BWLQ);
    // The register known to be zero: `xor r, r`, which reads nothing.
    ZERO "xor" [G.d()] => op1(0x33).sized(L).wf();
    IMUL_RM "imul" [G.m(), GM] => op2(0xaf).sized(WLQ).wf();
    IMUL_RMI "imul" [G.d(), GM, IV] => op1(0x69).sized(WLQ).short().wf();
    // One operand: rdx:rax; the 8-bit forms leave 16 bits in rax.
    MUL8 "mul" [AX.m().h().w(), GM.b()] => op1(0xf6).digit(4).wf();
    IMUL8 "imul" [AX.m().h().w(), GM.b()] => op1(0xf6).digit(5).wf();
    MUL "mul" [AX.m().h(), DX.d().h(), GM] => op1(0xf7).digit(4).sized(WLQ).wf();
    IMUL "imul" [AX.m().h(), DX.d().h(), GM] => op1(0xf7).digit(5).sized(WLQ).wf();
    DIV8 "div" [AX.m().h().w(), GM.b()] => op1(0xf6).digit(6).wf();
    IDIV8 "idiv" [AX.m().h().w(), GM.b()] => op1(0xf6).digit(7).wf();
    DIV "div" [AX.m().h(), DX.m().h(), GM] => op1(0xf7).digit(6).sized(WLQ).wf();
    IDIV "idiv" [AX.m().h(), DX.m().h(), GM] => op1(0xf7).digit(7).sized(WLQ).wf();
    CBW "cbw" [AX.m().h().w()] => op1(0x98).prefixed(P66);
    CWDE "cwde" [AX.m().h().l()] => op1(0x98);
    CDQE "cdqe" [AX.m().h().q()] => op1(0x98).w1();
    CWD "cwd" [DX.d().h().w(), AX.h().w()] => op1(0x99).prefixed(P66);
    CDQ "cdq" [DX.d().h().l(), AX.h().l()] => op1(0x99);
    CQO "cqo" [DX.d().h().q(), AX.h().q()] => op1(0x99).w1();

    // Shifts and rotates, by cl and by an immediate.
    ROL_CL "rol" [GR.m(), CX.b()] => op1(0xd3).digit(0).sized(BWLQ).wf();
    ROL_I "rol" [GR.m(), IB] => op1(0xc1).digit(0).sized(BWLQ).wf();
    ROR_CL "ror" [GR.m(), CX.b()] => op1(0xd3).digit(1).sized(BWLQ).wf();
    ROR_I "ror" [GR.m(), IB] => op1(0xc1).digit(1).sized(BWLQ).wf();
    SHL_CL "shl" [GR.m(), CX.b()] => op1(0xd3).digit(4).sized(BWLQ).wf();
    SHL_I "shl" [GR.m(), IB] => op1(0xc1).digit(4).sized(BWLQ).wf();
    SHL_MCL "shl" [M.m(), CX.b()] => op1(0xd3).digit(4).sized(BWLQ).wf();
    SHL_MI "shl" [M.m(), IB] => op1(0xc1).digit(4).sized(BWLQ).wf();
    SHR_CL "shr" [GR.m(), CX.b()] => op1(0xd3).digit(5).sized(BWLQ).wf();
    SHR_I "shr" [GR.m(), IB] => op1(0xc1).digit(5).sized(BWLQ).wf();
    SHR_MCL "shr" [M.m(), CX.b()] => op1(0xd3).digit(5).sized(BWLQ).wf();
    SHR_MI "shr" [M.m(), IB] => op1(0xc1).digit(5).sized(BWLQ).wf();
    SAR_CL "sar" [GR.m(), CX.b()] => op1(0xd3).digit(7).sized(BWLQ).wf();
    SAR_I "sar" [GR.m(), IB] => op1(0xc1).digit(7).sized(BWLQ).wf();
    SAR_MCL "sar" [M.m(), CX.b()] => op1(0xd3).digit(7).sized(BWLQ).wf();
    SAR_MI "sar" [M.m(), IB] => op1(0xc1).digit(7).sized(BWLQ).wf();
    SHLX "shlx" [G.d(), GM, GV] => bmi(2, P66, 0xf7, Feature::Bmi2).sized(LQ);
    SHRX "shrx" [G.d(), GM, GV] => bmi(2, PF2, 0xf7, Feature::Bmi2).sized(LQ);
    SARX "sarx" [G.d(), GM, GV] => bmi(2, PF3, 0xf7, Feature::Bmi2).sized(LQ);
    RORX "rorx" [G.d(), GM, IB] => bmi(3, PF2, 0xf0, Feature::Bmi2).sized(LQ);
    SHLD_CL "shld" [GR.m(), G, CX.b()] => op2(0xa5).sized(WLQ).wf();
    SHLD_I "shld" [GR.m(), G, IB] => op2(0xa4).sized(WLQ).wf();
    SHRD_CL "shrd" [GR.m(), G, CX.b()] => op2(0xad).sized(WLQ).wf();
    SHRD_I "shrd" [GR.m(), G, IB] => op2(0xac).sized(WLQ).wf();

    // Bits. `bsf` and `bsr` of zero leave the destination undefined.
    BSF "bsf" [G.d(), GM] => op2(0xbc).sized(WLQ).wf();
    BSR "bsr" [G.d(), GM] => op2(0xbd).sized(WLQ).wf();
    TZCNT "tzcnt" [G.d(), GM] => p2(PF3, 0xbc).sized(WLQ).wf().needs(Feature::Bmi1);
    LZCNT "lzcnt" [G.d(), GM] => p2(PF3, 0xbd).sized(WLQ).wf().needs(Feature::Lzcnt);
    POPCNT "popcnt" [G.d(), GM] => p2(PF3, 0xb8).sized(WLQ).wf().needs(Feature::Popcnt);
    BSWAP "bswap" [GO.m()] => op2(0xc8).sized(LQ);
    BT_RR "bt" [GR, G] => op2(0xa3).sized(WLQ).wf();
    BT_RI "bt" [GM, IB] => op2(0xba).digit(4).sized(WLQ).wf();
    BTS_RR "bts" [GR.m(), G] => op2(0xab).sized(WLQ).wf();
    BTS_RI "bts" [GR.m(), IB] => op2(0xba).digit(5).sized(WLQ).wf();
    BTR_RR "btr" [GR.m(), G] => op2(0xb3).sized(WLQ).wf();
    BTR_RI "btr" [GR.m(), IB] => op2(0xba).digit(6).sized(WLQ).wf();
    BTC_RR "btc" [GR.m(), G] => op2(0xbb).sized(WLQ).wf();
    BTC_RI "btc" [GR.m(), IB] => op2(0xba).digit(7).sized(WLQ).wf();
    ANDN "andn" [G.d(), GV, GM] => bmi(2, NP, 0xf2, Feature::Bmi1).sized(LQ).wf();
    BLSR "blsr" [GV.d(), GM] => bmi(2, NP, 0xf3, Feature::Bmi1).digit(1).sized(LQ).wf();
    BLSMSK "blsmsk" [GV.d(), GM] => bmi(2, NP, 0xf3, Feature::Bmi1).digit(2).sized(LQ).wf();
    BLSI "blsi" [GV.d(), GM] => bmi(2, NP, 0xf3, Feature::Bmi1).digit(3).sized(LQ).wf();
    BEXTR "bextr" [G.d(), GM, GV] => bmi(2, NP, 0xf7, Feature::Bmi1).sized(LQ).wf();
    BZHI "bzhi" [G.d(), GM, GV] => bmi(2, NP, 0xf5, Feature::Bmi2).sized(LQ).wf();
    PEXT "pext" [G.d(), GV, GM] => bmi(2, PF3, 0xf5, Feature::Bmi2).sized(LQ);
    PDEP "pdep" [G.d(), GV, GM] => bmi(2, PF2, 0xf5, Feature::Bmi2).sized(LQ);
    MULX "mulx" [G.d(), GV.d(), GM, DX.h()] => bmi(2, PF2, 0xf6, Feature::Bmi2).sized(LQ);
    ADCX "adcx" [G.m(), GM] => p38(P66, 0xf6).sized(LQ).rf().wf().needs(Feature::Adx);
    ADOX "adox" [G.m(), GM] => p38(PF3, 0xf6).sized(LQ).rf().wf().needs(Feature::Adx);

    // On a condition.
    SETCC_R "set" [GR.d().b()] => op2(0x90).cc();
    SETCC_M "set" [M.d().b()] => op2(0x90).cc();
    CMOVCC "cmov" [G.m(), GM] => op2(0x40).sized(WLQ).cc();

    // Atomic and ordered.
    CMPXCHG "cmpxchg" [M.m(), G, AX.m().h()] => op2(0xb1).sized(BWLQ).lock().wf();
    CMPXCHG16B "cmpxchg16b" [M.m().o(), AX.m().h().q(), DX.m().h().q(), BX.h().q(), CX.h().q()]
        => op2(0xc7).digit(1).w1().lock().wf().needs(Feature::Cmpxchg16b);
    LOCK_XADD "xadd" [M.m(), G.m()] => op2(0xc1).sized(BWLQ).lock().wf();
    LOCK_ADD_MR "add" [M.m(), G] => op1(0x01).sized(BWLQ).lock().wf();
    LOCK_ADD_MI "add" [M.m(), IV] => op1(0x81).digit(0).sized(BWLQ).short().lock().wf();
    LOCK_SUB_MR "sub" [M.m(), G] => op1(0x29).sized(BWLQ).lock().wf();
    LOCK_SUB_MI "sub" [M.m(), IV] => op1(0x81).digit(5).sized(BWLQ).short().lock().wf();
    LOCK_AND_MR "and" [M.m(), G] => op1(0x21).sized(BWLQ).lock().wf();
    LOCK_AND_MI "and" [M.m(), IV] => op1(0x81).digit(4).sized(BWLQ).short().lock().wf();
    LOCK_OR_MR "or" [M.m(), G] => op1(0x09).sized(BWLQ).lock().wf();
    LOCK_OR_MI "or" [M.m(), IV] => op1(0x81).digit(1).sized(BWLQ).short().lock().wf();
    LOCK_XOR_MR "xor" [M.m(), G] => op1(0x31).sized(BWLQ).lock().wf();
    LOCK_XOR_MI "xor" [M.m(), IV] => op1(0x81).digit(6).sized(BWLQ).short().lock().wf();
    LOCK_NEG_M "neg" [M.m()] => op1(0xf7).digit(3).sized(BWLQ).lock().wf();
    LOCK_NOT_M "not" [M.m()] => op1(0xf7).digit(2).sized(BWLQ).lock();
    MFENCE "mfence" [] => op2(0xae).literal(0xf0);
    LFENCE "lfence" [] => op2(0xae).literal(0xe8);

    // Control.
    JMP "jmp" [T] => branch(Space::Jump, 0xe9);
    JCC "j" [T] => branch(Space::JumpIf, 0x80).rf();
    CALL "call" [T] => branch(Space::Call, 0xe8);
    JMP_RM "jmp" [GM.q()] => op1(0xff).digit(4);
    CALL_RM "call" [GM.q()] => op1(0xff).digit(2);
    RET "ret" [] => op1(0xc3);
    RET_I "ret" [IW] => op1(0xc2);
    UD2 "ud2" [] => op2(0x0b);
    INT3 "int3" [] => op1(0xcc);
    HLT "hlt" [] => op1(0xf4);
    NOP "nop" [] => op1(0x90);
    PAUSE "pause" [] => op1(0x90).prefixed(PF3);
}
