# Figures of a trial with drop-outs (trial.json, drawn from a seed) by nlme, glmmTMB, lmerTest and
# pbkrtest: Rscript trial.R > figures.json
suppressMessages({
  library(jsonlite); library(nlme); library(glmmTMB); library(lmerTest); library(pbkrtest)
})
d <- as.data.frame(fromJSON("trial.json"))
d$arm <- factor(d$arm, c("control", "active")); d$visit <- factor(d$visit)
d$time <- as.integer(d$visit); d$subject <- factor(d$subject)
d <- d[order(d$subject, d$time), ]
f <- y ~ baseline + arm * visit
tight <- glsControl(opt = "optim", tolerance = 1e-11, msTol = 1e-13, maxIter = 500, msMaxIter = 500)
by_gls <- function(correlation, own, method) {
  w <- if (own) varIdent(form = ~ 1 | visit) else NULL
  m <- gls(f, d, correlation = correlation, weights = w, method = method, control = tight)
  v <- getVarCov(m, individual = which(table(d$subject) == 4)[[1]])  # of one with all visits
  list(criterion = -2 * as.numeric(logLik(m)), beta = unname(coef(m)),
       se = unname(sqrt(diag(vcov(m)))), covariance = unname(unclass(v)[1:4, 1:4]))
}
by_tmb <- function(name) {
  g <- as.formula(paste0("y ~ baseline + arm * visit + ", name, "(0 + visit | subject)"))
  o <- glmmTMBControl(optimizer = optim, optArgs = list(method = "BFGS"),
                      optCtrl = list(maxit = 5000, reltol = 1e-15))
  m <- suppressWarnings(glmmTMB(g, d, dispformula = ~0, REML = TRUE, control = o))
  list(criterion = -2 * as.numeric(logLik(m)), beta = unname(fixef(m)$cond),
       covariance = unname(VarCorr(m)$cond$subject[1:4, 1:4]))
}
out <- list()
for (method in c("REML", "ML")) {
  k <- tolower(method)
  out[[paste0("us_", k)]] <- by_gls(corSymm(form = ~ time | subject), TRUE, method)
  out[[paste0("cs_", k)]] <- by_gls(corCompSymm(form = ~ 1 | subject), FALSE, method)
  out[[paste0("csh_", k)]] <- by_gls(corCompSymm(form = ~ 1 | subject), TRUE, method)
  out[[paste0("ar1_", k)]] <- by_gls(corAR1(form = ~ time | subject), FALSE, method)
  out[[paste0("ar1h_", k)]] <- by_gls(corAR1(form = ~ time | subject), TRUE, method)
}
out$toeplitzh_reml <- by_tmb("toep")
m <- lmer(update(f, . ~ . + (1 | subject)), d, control = lmerControl(optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-12)))
s <- coef(summary(m)); k <- coef(summary(m, ddf = "Kenward-Roger"))
out$intercept <- list(sat_df = unname(s[, "df"]), kr_df = unname(k[, "df"]), kr_se = unname(k[, "Std. Error"]),
                      se = unname(s[, "Std. Error"]),
                      anova = unname(as.matrix(anova(m, type = 3)[, c("NumDF", "DenDF", "F value")])),
                      kr_anova = unname(as.matrix(anova(m, type = 3, ddf = "Kenward-Roger")[, c("NumDF", "DenDF", "F value")])))
out$versions <- sapply(c("nlme", "glmmTMB", "lme4", "lmerTest", "pbkrtest"), function(p) as.character(packageVersion(p)))
out$versions <- as.list(out$versions); out$versions$R <- R.version$version.string
cat(toJSON(out, digits = 12, auto_unbox = TRUE, pretty = TRUE), "\n")
