/**
 * What a message that goes through memory lends (memory that is kept until it arrives, descriptors that are fetched), to be
 * taken back if the message is not sent.
 */

/** Takes back one thing. */
export type Loan = () => void;

const NO_LOANS: readonly Loan[] = Object.freeze([]);
/** Of the message that is being encoded; undefined: nobody would take anything back. */
let loans: readonly Loan[] | undefined;

/** Call around the encoding of a message, which may happen inside of another's. */
export function beginLending(): readonly Loan[] | undefined {
  const outer = loans;
  loans = NO_LOANS;
  return outer;
}

/** @returns what it lends, to be taken back if the message is not sent. Undefined: nothing. */
export function endLending(outer: readonly Loan[] | undefined): readonly Loan[] | undefined {
  const own = loans;
  loans = outer;
  return own === NO_LOANS ? undefined : own;
}

/** The message will not be sent. */
export function takeBack(lent: readonly Loan[] | undefined): void {
  for (const loan of lent ?? []) loan();
}

/** The message that is being encoded lends something. */
export function onTakeBack(loan: Loan): void {
  if (loans === NO_LOANS) loans = [loan];
  else (loans as Loan[] | undefined)?.push(loan);
}
