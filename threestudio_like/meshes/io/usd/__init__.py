"""USD: Universal Scene Description, as text, binary and
package, by the library of OpenUSD (extra: usd)."""
