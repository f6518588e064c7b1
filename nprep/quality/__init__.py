"""How good predictors and modelled values are: experiments of their own."""
